mod reading;
mod send;
mod token;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use clap::CommandFactory;
use insta::assert_snapshot;

use super::*;
use crate::model::secret::{MasterKey, Secret};
use crate::model::time::TimestampMs;

const NOW: TimestampMs = 1_767_225_600_000;
const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// What a command line came to.
#[derive(Debug)]
struct Ran {
    code: ExitCode,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    /// What was printed by a command that succeeded.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (ExitCode::SUCCESS, ""));
        String::from_utf8(self.stdout).unwrap()
    }

    /// What a command that failed in this way said.
    #[track_caller]
    fn bad(self, code: u8) -> String {
        assert_eq!(self.code, ExitCode::from(code), "{}", self.stderr);
        self.stderr
    }
}

/// Runs `triage` in a folder, for the folder's own configuration.
fn triage(folder: &Path, arguments: &str) -> Ran {
    let config = folder.join("triage.toml").display().to_string();
    let words = ["triage", "--config", &config]
        .into_iter()
        .chain(arguments.split(' '))
        .map(|word| OsString::from(word.replace("DIR", &folder.display().to_string())));
    let env = |name: &str| (name == "SIGNING").then(|| SIGNING_SECRET.to_owned());
    let clock = Clock::Manual(Arc::new(AtomicI64::new(NOW)));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = main(words, &env, clock, &mut stdout, &mut stderr);
    let stderr = String::from_utf8(stderr)
        .unwrap()
        .replace(&folder.display().to_string(), "DIR");
    Ran {
        code,
        stdout,
        stderr,
    }
}

fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("triage.toml"), config).unwrap();
    folder
}

/// A folder as `triage init` leaves it.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    triage(folder.path(), "init DIR").good();
    folder
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_arguments_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn help_and_version_are_no_errors() {
    let nowhere = Path::new("/nowhere");
    assert!(triage(nowhere, "--help").good().contains("Usage: triage"));
    assert!(
        triage(nowhere, "send --help")
            .good()
            .contains("triage send [OPTIONS] SOURCE EVENT")
    );
    assert!(triage(nowhere, "--version").good().starts_with("triage "));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    let nowhere = Path::new("/nowhere");
    let unknown = triage(nowhere, "frobnicate").bad(2);
    assert!(
        unknown.starts_with("error: unrecognized subcommand 'frobnicate'"),
        "{unknown}"
    );
    assert_snapshot!(triage(nowhere, "--json event show evt_1").bad(2), @r#"{"code":"usage","message":"invalid value 'evt_1' for '<ID>': not an id of this kind: expected `evt_` and 32 hexadecimal digits"}"#);
    assert_snapshot!(triage(nowhere, "event list --limit 0").bad(2), @"error: --limit: a number from 1 to 200");
    assert_snapshot!(triage(nowhere, "event list --cursor x").bad(2), @"error: --cursor: use `next_cursor` of the page before, unchanged");
    assert_snapshot!(triage(nowhere, "event list --since yesterday").bad(2), @"error: --since: `yesterday` is not a time as 2026-01-31T12:00:00Z, or how long ago as 30m, 24h or 7d");
    assert_snapshot!(triage(nowhere, "--json run list --state lost").bad(2), @r#"{"code":"usage","message":"invalid value 'lost' for '--state <STATE>': unknown state `lost`: expected queued, running, completed or dead"}"#);
}

#[test]
fn without_a_configuration_every_command_names_init() {
    for command in [
        "check",
        "serve",
        "event list",
        "run list",
        "ticket list",
        "send github ping",
    ] {
        let said = triage(Path::new("/nowhere"), command).bad(1);
        assert_eq!(
            said,
            "error: there is no DIR/triage.toml: `triage init` writes one, `--config` names another\n",
            "{command}"
        );
    }
}

#[test]
fn init_makes_all_that_serve_needs() {
    let folder = tempfile::tempdir().unwrap();
    let made: serde_json::Value =
        serde_json::from_str(&triage(folder.path(), "--json init DIR/new/site").good()).unwrap();
    let site = folder.path().join("new/site");
    assert_eq!(mode(&site.join("secrets")), 0o700);
    assert_eq!(mode(&site.join("secrets/standard-main")), 0o600);
    assert_eq!(mode(&site.join("triage.db")), 0o600);
    assert_eq!(mode(&site.join("triage.key")), 0o600);
    let key = fs::read_to_string(site.join("triage.key")).unwrap();
    assert!(MasterKey::from_text(key.trim_end()).is_some());
    let checked = triage(&site, "check").good();
    assert_snapshot!(checked, @"ok: 1 integration, 0 plugins, 0 destinations, 0 policies");

    let token = Secret::new(made["token"].as_str().unwrap());
    let store = Store::open_to_read(&site.join("triage.db")).unwrap();
    let access = wait_for(store.find_token(&token))
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(access.role, crate::store::access::Role::Admin);
    assert_eq!(access.tenant, None);
}

#[test]
fn init_says_what_to_do_next_and_makes_a_secret_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let said = triage(folder.path(), "init DIR/a").good();
    triage(folder.path(), "init DIR/b").good();
    assert!(said.contains("/a && triage serve"), "{said}");
    let secret = |site: &str| {
        fs::read_to_string(folder.path().join(site).join("secrets/standard-main")).unwrap()
    };
    assert!(secret("a").starts_with("whsec_"));
    assert_ne!(secret("a"), secret("b"));
}

#[test]
fn init_overwrites_nothing() {
    let site = site();
    let before = fs::read(site.path().join("triage.toml")).unwrap();
    assert_snapshot!(triage(site.path(), "init DIR").bad(1), @"error: DIR/triage.toml, DIR/secrets/standard-main, DIR/triage.key, DIR/triage.db exists already: nothing was written; choose another folder");
    assert_eq!(fs::read(site.path().join("triage.toml")).unwrap(), before);

    let other = folder("# mine");
    assert_snapshot!(triage(other.path(), "init DIR").bad(1), @"error: DIR/triage.toml exists already: nothing was written; choose another folder");
    assert!(!other.path().join("triage.db").exists());
}

#[test]
fn check_names_every_problem_in_a_line_of_its_own() {
    let folder = folder("[server]\nlisten = \"here\"\ndatabase = 1\n");
    assert_snapshot!(triage(folder.path(), "check").bad(1), @"
    error: server.database: invalid type: integer `1`, expected a string
    error: server.listen: `here` is not an address and a port, as `127.0.0.1:8080`
    ");
    assert_snapshot!(triage(folder.path(), "--json check").bad(1), @r#"{"code":"invalid_config","message":"server.database: invalid type: integer `1`, expected a string\nserver.listen: `here` is not an address and a port, as `127.0.0.1:8080`"}"#);
}

#[test]
fn check_loads_the_plugins() {
    let folder = folder(
        "[plugins.bad]\npath = \"bad.wasm\"\n[[policy]]\nname = \"p\"\ntriggers = [\"*\"]\ntriager = \"bad\"",
    );
    fs::write(folder.path().join("bad.wasm"), "(nothing)").unwrap();
    Store::create(&folder.path().join("triage.db")).unwrap();
    let said = triage(folder.path(), "check").bad(1);
    assert!(
        said.starts_with("error: plugins.bad: DIR/bad.wasm: "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // `serve` says the same and does not start.
    assert_eq!(triage(folder.path(), "serve").bad(1), said);
}

#[test]
fn check_counts_as_json() {
    let site = site();
    assert_snapshot!(triage(site.path(), "--json check").good(), @r#"
    {
      "counts": {
        "destinations": 0,
        "integrations": 1,
        "plugins": 0,
        "policies": 0
      },
      "ok": true
    }
    "#);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let site = site();
    let config = site.path().join("triage.toml").into_os_string();
    for command in [["event", "list"], ["event", "list"]] {
        let words = ["triage".into(), "--config".into(), config.clone()];
        let words = words.into_iter().chain(command.map(OsString::from));
        let mut stderr = Vec::new();
        let code = main(words, &|_| None, Clock::System, &mut Closed, &mut stderr);
        assert_eq!((code, stderr), (ExitCode::SUCCESS, Vec::new()));
    }
}

#[test]
fn text_from_outside_cannot_move_the_cursor() {
    let text = "a\u{1b}[2Jb\r\u{202e}c\nd\u{9b}e";
    assert_eq!(
        output::clean(text, 100),
        "a\u{fffd}[2Jb\u{fffd}\u{fffd}c d\u{fffd}e"
    );
    assert_eq!(output::clean("äöü", 2), "äö…");
    assert_eq!(output::clean_lines("a\nb\nc", 2), ["a", "b", "…"]);
}

#[test]
fn a_time_ago_is_one_number() {
    let mut out = Vec::new();
    let output = Output::new(&mut out, false, NOW);
    let ago = |ms: i64| output.ago(NOW - ms);
    assert_eq!(
        [
            ago(-5_000),
            ago(0),
            ago(119_999),
            ago(120_000),
            ago(7_200_000),
            ago(864_000_000)
        ],
        [
            "just now", "0s ago", "119s ago", "2m ago", "2h ago", "10d ago"
        ]
    );
}
