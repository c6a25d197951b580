//! From a component's bytes to a plugin that can be called: checked, compiled, linked.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, InstancePre, Lift, Linker, Lower,
};
use wasmtime::error::Context as _;

use super::bindings::exports::triage::policy::{classifier, triager};
use super::bindings::triage::policy::{clock, log, settings, types};
use super::compile::COMPILES_WAITING_MAX;
use super::host::StageState;
use super::precheck::{self, Limit, PACKAGE, VERSION};
use super::wasi;

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are not a component that the engine takes.
    #[error("not a component that can be run: {0}")]
    Invalid(String),
    /// A part of it is larger than this host takes.
    #[error("it has {found} {limit}, the most is {}", .limit.most)]
    TooLarge {
        /// Which part.
        limit: Limit,
        /// How much of it there is, as far as was counted.
        found: u64,
    },
    /// It imports something of the contract that this host does not offer.
    #[error("it imports `{0}`, which this version of triage does not offer")]
    NotOffered(String),
    /// It imports `wasi:http`, which would go around the policy's grants.
    #[error(
        "it imports `{0}`, which is never granted; import triage:policy/http@0.1.0, or build it without \
         its language's HTTP client"
    )]
    WasiHttp(String),
    /// It imports something that is not in the contract.
    #[error("it imports `{0}`, which is not part of triage:policy@0.1.0 and is never granted")]
    UnknownImport(String),
    /// It exports nothing that a policy could use.
    #[error("it exports neither triage:policy/classifier@0.1.0 nor triage:policy/triager@0.1.0")]
    NoPolicy,
    /// It cannot be compiled in the time that it is given.
    #[error(
        "compiling it takes more than the {seconds} s that `server.compile_seconds` allows for its size"
    )]
    TooSlow {
        /// Seconds that it was given.
        seconds: u64,
    },
    /// It cannot be compiled in the memory that it is given.
    #[error("compiling it takes more than {mib} MiB of memory")]
    TooMuchMemory {
        /// Address space of the compiling process in MiB.
        mib: u64,
    },
    /// It compiles to more machine code than is taken.
    #[error("it compiles to more than {bytes} bytes of machine code")]
    TooMuchCode {
        /// The most that is taken.
        bytes: u64,
    },
    /// The compiler did not survive it.
    #[error("the compiler ended without a result: {0}")]
    Crashed(String),
    /// Too many components wait to be compiled.
    #[error("{COMPILES_WAITING_MAX} other components wait to be compiled: try again later")]
    Busy,
    /// The process that compiles cannot be started.
    #[error("the process that compiles plugins cannot be started or spoken to")]
    NoCompiler(#[source] std::io::Error),
    /// An import or export has another shape than the contract's.
    #[error("it does not fit the contract: {0}")]
    Mismatch(String),
}

/// The code of a version, compiled and linked.
pub(super) struct Linked {
    pub(super) instance: InstancePre<StageState>,
    pub(super) classifier: Option<classifier::GuestIndices>,
    pub(super) triager: Option<triager::GuestIndices>,
    /// What it takes in memory.
    pub(super) bytes: u64,
}

/// What guests may import: made once, used for every plugin.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<StageState>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    settings::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    clock::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Checks that a compiled component fits the contract, and links it.
pub(super) fn link(
    engine: &Engine,
    linker: &Linker<StageState>,
    component: &Component,
    bytes: u64,
) -> Result<Linked, LoadError> {
    let kind = component.component_type();
    for (name, _) in kind.imports(engine) {
        precheck::check_import(name)?;
    }
    let exports = |interface: &str| {
        let wanted = format!("{PACKAGE}{interface}{VERSION}");
        kind.exports(engine).any(|(name, _)| name == wanted)
    };
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch(chain(&error));
    let instance = linker.instantiate_pre(component).map_err(mismatch)?;
    let classifier = exports("classifier")
        .then(|| classifier::GuestIndices::new(&instance))
        .transpose()
        .map_err(mismatch)?;
    let triager = exports("triager")
        .then(|| triager::GuestIndices::new(&instance))
        .transpose()
        .map_err(mismatch)?;
    if classifier.is_none() && triager.is_none() {
        return Err(LoadError::NoPolicy);
    }
    if classifier.is_some() {
        check_type::<(types::Event<'_>,), Answer<types::ClassificationResult>>(
            &instance,
            "classifier",
            "classify",
        )
        .map_err(mismatch)?;
    }
    if triager.is_some() {
        check_type::<(types::Event<'_>, types::ClassificationParam<'_>), Answer<types::Plan>>(
            &instance, "triager", "triage",
        )
        .map_err(mismatch)?;
    }
    Ok(Linked {
        instance,
        classifier,
        triager,
        bytes,
    })
}

/// What the contract's functions give.
type Answer<T> = (Result<T, types::Failure>,);

/// Checks the type of an exported function. Otherwise only the first event would show that it is another.
fn check_type<Params, Answer>(
    instance: &InstancePre<StageState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lower,
    Answer: ComponentNamedList + Lift,
{
    let component = instance.component();
    let item = component
        .get_export_index(None, format!("{PACKAGE}{interface}{VERSION}"))
        .and_then(|it| component.get_export(Some(&it), function));
    let name = format!("the export `{interface}.{function}`");
    match item {
        // Neither is documented; the code that `bindgen!` makes for a world's own functions calls them so.
        Some((ComponentItem::ComponentFunc(item), _)) => item
            .typecheck::<Params, Answer>(&instance.instance_type())
            .context(name),
        _ => Err(wasmtime::format_err!("{name} is not a function")),
    }
}

/// The name of a version: SHA-256 of its bytes in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What the engine says, with its causes.
pub(super) fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}
