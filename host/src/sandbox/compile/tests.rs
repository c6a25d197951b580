use super::*;

fn program(script: &str) -> Ended {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    Ended {
        status: output.status,
        answer: output.stdout,
        stderr: output.stderr,
    }
}

fn refusal(script: &str) -> LoadError {
    judge(program(script), 7).unwrap_err()
}

#[test]
fn a_large_component_has_longer() {
    let mib = 1 << 20;
    for (bytes, computing, wall) in [
        (0, 6, 6),
        (mib - 1, 6, 6),
        (mib, 9, 12),
        (12 * mib, 42, 78),
        (32 * mib, 102, 198),
    ] {
        assert_eq!(allowance(bytes, 6, MORE_COMPUTING), computing, "{bytes}");
        assert_eq!(allowance(bytes, 6, MORE_WALL), wall, "{bytes}");
    }
}

#[test]
fn an_answer_is_machine_code_or_a_complaint() {
    assert_eq!(judge(program("printf '\\0code'"), 7).unwrap(), b"code");
    let complaint = refusal("printf '\\001no\\n\\033[31m  way'");
    assert_eq!(
        complaint.to_string(),
        "not a component that can be run: no ?[31m way"
    );
}

#[test]
fn how_a_compiler_ended_is_told() {
    assert!(matches!(
        refusal("kill -XCPU $$"),
        LoadError::TooSlow { seconds: 7 }
    ));
    assert!(matches!(
        refusal("echo memory allocation of 9 bytes failed >&2; kill -ABRT $$"),
        LoadError::TooMuchMemory { .. }
    ));
    for (script, parts) in [
        (
            "echo its last words >&2; kill -SEGV $$",
            ["SIGSEGV", "its last words"],
        ),
        (
            "printf '\\0code'; echo panicked >&2; exit 101",
            ["101", "panicked"],
        ),
        ("kill -KILL $$", ["SIGKILL", ""]),
        ("exit 0", ["exit status: 0", ""]),
    ] {
        let told = refusal(script).to_string();
        assert!(parts.iter().all(|it| told.contains(it)), "{told}");
    }
}

#[test]
fn who_does_not_answer_in_time_is_gone_afterwards() {
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe holds: nobody reads it.
    let component = vec![0; 1 << 20];
    let ended = converse(
        &mut child,
        &component,
        Instant::now() + Duration::from_millis(50),
    );
    assert!(ended.unwrap().is_none());
    assert_eq!(
        child.try_wait().unwrap().and_then(|it| it.signal()),
        Some(9)
    );
}

#[test]
fn a_program_that_is_not_there_is_named_as_the_cause() {
    let compiler = Compiler::with(PathBuf::from("/nowhere/triage"));
    assert!(matches!(
        compiler.compile(b"", 1),
        Err(LoadError::NoCompiler(error)) if error.kind() == io::ErrorKind::NotFound
    ));
}
