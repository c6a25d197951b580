//! Where the binary and the bundled plugins are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The binary: `TRIAGE_BIN`, or the one that cargo built beside this test.
pub fn triage() -> PathBuf {
    let path = std::env::var_os("TRIAGE_BIN")
        .map_or_else(|| profile_folder().join("triage"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: run `cargo xtask test`, or `cargo build -p triage-host` before the tests",
        path.display()
    );
    path
}

/// The top of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A bundled plugin's component by its crate's name, as `incident-desk`.
///
/// It is looked for in `TRIAGE_PLUGINS`, or where `triage plugin build` puts it; in the second
/// place a missing one is built.
pub fn component(plugin: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let path = place(plugin);
    let _one_at_a_time = BUILDING.lock();
    if std::env::var_os("TRIAGE_PLUGINS").is_none() && !path.exists() {
        build(&root().join("plugins").join(plugin), &path);
    }
    assert!(
        path.is_file(),
        "there is no {}: run `cargo xtask plugins`",
        path.display()
    );
    path
}

/// The component of the incident policy in another language, where `cargo xtask guests` could build it.
pub fn guest(language: &str) -> Option<PathBuf> {
    Some(place(&format!("incident-desk-{language}"))).filter(|it| it.is_file())
}

fn place(plugin: &str) -> PathBuf {
    let given = std::env::var_os("TRIAGE_PLUGINS").map(PathBuf::from);
    given
        .unwrap_or_else(|| profile_folder().with_file_name("triage-plugins"))
        .join(format!("{}.wasm", plugin.replace('-', "_")))
}

/// Builds a plugin's crate, or packs a `.wat` file, with the binary's own command.
pub fn build(source: &Path, out: &Path) {
    let output = Command::new(triage())
        .args(["plugin", "build"])
        .arg(source)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "`triage plugin build {}` ended with {}:\n{}",
        source.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `target/debug`, from `target/debug/deps/it-…`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}
