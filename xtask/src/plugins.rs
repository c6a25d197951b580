//! Building the bundled plugins with the host's own command.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::command;

/// Builds every folder of `plugins/` and gives the folder with the components.
pub fn build(triage: &Path) -> anyhow::Result<PathBuf> {
    let out = command::target_dir().join("triage-plugins");
    for plugin in names()? {
        command::step(&format!("building plugin {plugin}"));
        let source = command::root().join("plugins").join(&plugin);
        let file = out.join(format!("{}.wasm", plugin.replace('-', "_")));
        let mut build = Command::new(triage);
        build
            .args(["plugin", "build", "--install-toolchain", "--out"])
            .arg(&file)
            .arg(&source);
        command::run(&mut build)?;
    }
    Ok(out)
}

/// The bundled plugins, by name.
pub fn names() -> anyhow::Result<Vec<String>> {
    let folder = command::root().join("plugins");
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
