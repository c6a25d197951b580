//! `triage plugin`: build and inspect components; `versions` looks at those of a server.
//!
//! Called by the command line and, for its parts, by `cargo xtask`.

pub mod build;
mod core_module;
pub mod guest;
pub mod inspect;
pub mod pack;
mod process;
mod sysroot;
#[cfg(test)]
mod tests;
pub mod toolchain;
pub(super) mod versions;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use build::{Built, Options};
use inspect::Inspection;
use serde::Serialize;

use crate::sandbox;

/// Everything below `triage plugin`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Commands {
    #[command(flatten)]
    OnFiles(PluginCommand),
    #[command(flatten)]
    OfServer(versions::VersionCommand),
}

/// What can be done with a plugin on the author's own machine.
#[derive(Debug, clap::Subcommand)]
pub enum PluginCommand {
    /// Build a plugin's directory, or pack a .wasm or .wat file, into a component.
    Build {
        /// A directory with Cargo.toml (Rust) or triage-plugin.toml (JavaScript, Python, Go, C), or a .wasm or
        /// .wat file.
        #[arg(default_value = ".")]
        path: PathBuf,
        /// Where to write the component. For a crate: beside its build results;
        /// for a file: NAME.component.wasm beside it.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Install the distribution's compiler where no other is found.
        #[arg(long, hide = true)]
        install_toolchain: bool,
    },
    /// Show what a component offers and what it asks for.
    Inspect {
        /// The component.
        file: PathBuf,
    },
}

/// Carries out one command and writes its result to `out`, as JSON or for people.
///
/// What takes long says so on stderr.
pub fn run(command: PluginCommand, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        PluginCommand::Build {
            path,
            out: file,
            install_toolchain,
        } => {
            let options = Options {
                install: install_toolchain,
                quiet: false,
            };
            let built = build::build(&path, file.as_deref(), options, &mut io::stderr())?;
            match json {
                true => write_json(&built, out),
                false => Ok(render(&built, out)?),
            }
        }
        PluginCommand::Inspect { file } => {
            let bytes = sandbox::read_plugin(&file).with_context(|| file.display().to_string())?;
            let inspection =
                inspect::inspect(&bytes).with_context(|| file.display().to_string())?;
            match json {
                true => write_json(&inspection, out),
                false => Ok(inspect::render(&inspection, out)?),
            }
        }
    }
}

fn render(built: &Built, out: &mut dyn Write) -> io::Result<()> {
    inspect::row(out, "component", &built.out.display().to_string())?;
    if let Some(toolchain) = &built.toolchain {
        inspect::row(out, "built with", toolchain)?;
    }
    let inspection = Inspection {
        digest: built.digest.clone(),
        bytes: built.bytes,
        exports: built.exports.clone(),
        other_exports: Vec::new(),
        imports: built.imports.clone(),
    };
    inspect::render(&inspection, out)
}

fn write_json(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
