//! The only door to wasmtime: confines, compiles, loads and evaluates plugins.
//!
//! A component is looked at (`precheck`), compiled in a process of its own (`compile`), kept for the next start
//! (`artefacts`), linked (`load`), held in memory (`resident`) and called for one event at a time (`evaluate`).
//!
//! Called by `registry` to load and by `worker` to evaluate. It knows nothing of
//! policies' grants on destinations, of the database or of what a decision leads to.

mod artefacts;
mod bindings;
mod compile;
mod convert;
mod engine;
mod evaluate;
mod file;
mod host;
mod load;
mod meter;
mod precheck;
mod resident;
mod ticker;
mod turns;
mod wasi;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::Engine;
use wasmtime::component::Linker;

use artefacts::Trusted;
pub use artefacts::{ARTEFACTS_BYTES_MAX, ArtefactKey, Artefacts};
pub use compile::{COMMAND, Compiler, child};
pub use engine::INSTANCES_MAX;
pub use evaluate::{Ended, Stage};
pub use file::{PLUGIN_BYTES_MAX, check_size, read_plugin};
use load::Linked;
pub use load::LoadError;
pub use precheck::Limit;
use resident::Resident;
pub use resident::{Plugin, RESIDENT_BYTES_MAX};
use ticker::Ticker;

/// The engine and everything that all plugins share. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engine: Engine,
    linker: Linker<host::StageState>,
    ticker: Ticker,
    compiler: Compiler,
    artefacts: Option<Artefacts>,
    fingerprint: [u8; 32],
    resident: Resident,
    turns: turns::Turns,
}

/// The sandbox cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly sandbox: {0}")]
pub struct SetupError(String);

impl Sandbox {
    /// Sets up the engine and its clock. What is compiled is kept in `artefacts`, where there are any.
    ///
    /// # Errors
    /// Where the processor or the system lacks what the engine needs.
    pub fn new(compiler: Compiler, artefacts: Option<Artefacts>) -> Result<Self, SetupError> {
        // What is not in the cache of compiled plugins could not come back.
        let resident_bytes = artefacts.as_ref().map_or(u64::MAX, |_| RESIDENT_BYTES_MAX);
        Self::with_room(compiler, artefacts, resident_bytes)
    }

    fn with_room(
        compiler: Compiler,
        artefacts: Option<Artefacts>,
        resident_bytes: u64,
    ) -> Result<Self, SetupError> {
        let setup = |error: wasmtime::Error| SetupError(format!("{error:#}"));
        let engine = engine::serving().map_err(setup)?;
        let linker = load::linker(&engine).map_err(setup)?;
        let ticker = Ticker::start(&engine).map_err(|error| SetupError(error.to_string()))?;
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self(Arc::new(Shared {
            engine,
            linker,
            ticker,
            compiler,
            artefacts,
            fingerprint: engine::fingerprint().map_err(setup)?,
            resident: Resident::new(resident_bytes),
            turns: turns::Turns::new(processors),
        })))
    }

    /// Checks, compiles and links a component, or takes what was compiled from the same bytes before.
    ///
    /// Takes from milliseconds to minutes, waiting for others included; blocks. A small component is
    /// compiled for up to `seconds`, a larger one for as long again for each full MiB.
    ///
    /// # Errors
    /// Names the limit, import, export or byte that does not fit.
    pub fn load(&self, bytes: &[u8], seconds: u64) -> Result<Arc<Plugin>, LoadError> {
        precheck::check(bytes)?;
        let digest = load::digest(bytes);
        if let Some(plugin) = self.load_cached(&digest) {
            return Ok(plugin);
        }
        let shared = &self.0;
        let began = Instant::now();
        let artefact = shared.compiler.compile(bytes, seconds)?;
        tracing::info!(digest, ms = began.elapsed().as_millis(), "plugin compiled");
        let linked = self.link(&artefact)?;
        // Only what can be used: nobody fills the cache with what cannot.
        if let Some(artefacts) = &shared.artefacts {
            artefacts.write(&artefacts::name(&digest, &shared.fingerprint), &artefact);
        }
        Ok(shared.resident.add(digest, linked))
    }

    /// A version by its digest, if it is in the cache. Takes a millisecond or few; blocks.
    pub fn load_cached(&self, digest: &str) -> Option<Arc<Plugin>> {
        let linked = self.read_cached(digest)?;
        Some(self.0.resident.add(digest.to_owned(), linked))
    }

    /// Whether a version can be called: its code is in memory, or comes back now. May block for a millisecond or few.
    pub fn has_code_of(&self, plugin: &Plugin) -> bool {
        self.code_of(plugin).is_some()
    }

    /// A version's code for one call, from memory or else from the cache. May block for a millisecond or few.
    fn code_of(&self, plugin: &Plugin) -> Option<Arc<Linked>> {
        let load = || self.read_cached(&plugin.digest);
        self.0.resident.of(plugin, load)
    }

    fn read_cached(&self, digest: &str) -> Option<Linked> {
        let artefacts = self.0.artefacts.as_ref()?;
        let name = artefacts::name(digest, &self.0.fingerprint);
        self.link(&artefacts.read(&name)?)
            .inspect_err(|error| artefacts.drop_artefact(&name, &error.to_string()))
            .ok()
    }

    fn link(&self, artefact: &Trusted) -> Result<Linked, LoadError> {
        let component = artefact
            .component(&self.0.engine)
            .map_err(|error| LoadError::Invalid(load::chain(&error)))?;
        load::link(&self.0.engine, &self.0.linker, &component, artefact.len())
    }

    /// Like [`Sandbox::load`], from a file; one of `known` that has the same bytes is given again.
    ///
    /// # Errors
    /// Also where the file cannot be read, or is larger than [`PLUGIN_BYTES_MAX`].
    pub fn load_file(
        &self,
        path: &Path,
        seconds: u64,
        known: &[Arc<Plugin>],
    ) -> Result<Arc<Plugin>, LoadError> {
        let bytes = read_plugin(path).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let digest = load::digest(&bytes);
        match known.iter().find(|it| it.digest == digest) {
            // Unless its code had to leave memory and is in the cache no more.
            Some(plugin) if self.has_code_of(plugin) => Ok(plugin.clone()),
            _ => self.load(&bytes, seconds),
        }
    }
}
