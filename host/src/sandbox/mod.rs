//! The only door to wasmtime: confines, compiles, loads and evaluates plugins.
//!
//! Called by `registry` to load and by `worker` to evaluate. It knows nothing of
//! policies' grants on destinations, of the database or of what a decision leads to.

mod bindings;
mod convert;
mod engine;
mod evaluate;
mod file;
mod host;
mod load;
mod meter;
mod wasi;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::Linker;

pub use engine::INSTANCES_MAX;
pub use evaluate::{Ended, Stage};
pub use file::PLUGIN_BYTES_MAX;
pub use load::{LoadError, Plugin};

/// The engine and everything that all plugins share. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engine: Engine,
    linker: Linker<host::StageState>,
    ticker: engine::Ticker,
}

/// The sandbox cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly sandbox: {0}")]
pub struct SetupError(String);

impl Sandbox {
    /// Sets up the engine and its clock.
    ///
    /// # Errors
    /// Where the processor or the system lacks what the engine needs.
    pub fn new() -> Result<Self, SetupError> {
        let setup = |error: wasmtime::Error| SetupError(format!("{error:#}"));
        let engine = engine::make().map_err(setup)?;
        let linker = load::linker(&engine).map_err(setup)?;
        let ticker =
            engine::Ticker::start(&engine).map_err(|error| SetupError(error.to_string()))?;
        Ok(Self(Arc::new(Shared {
            engine,
            linker,
            ticker,
        })))
    }

    /// Checks, compiles and links a component. Takes from milliseconds to seconds; blocks.
    ///
    /// # Errors
    /// Names the import, export or byte that does not fit.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        load::load(&self.0.engine, &self.0.linker, bytes)
    }

    /// Like [`Sandbox::load`], from a file; one of `known` that has the same bytes is given again.
    ///
    /// # Errors
    /// Also where the file cannot be read, or is larger than [`PLUGIN_BYTES_MAX`].
    pub fn load_file(&self, path: &Path, known: &[Arc<Plugin>]) -> Result<Arc<Plugin>, LoadError> {
        let bytes = file::read(path).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let digest = load::digest(&bytes);
        match known.iter().find(|it| it.digest == digest) {
            Some(plugin) => Ok(plugin.clone()),
            None => self.load(&bytes).map(Arc::new),
        }
    }
}
