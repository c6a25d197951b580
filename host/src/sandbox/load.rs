//! From a component's bytes to a plugin that can be called: checked, compiled, linked.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::bindings::exports::triage::policy::{classifier, triager};
use super::bindings::triage::policy::{clock, log, settings, types};
use super::host::StageState;
use super::wasi;

/// The contract's package and version.
const PACKAGE: &str = "triage:policy/";
const VERSION: &str = "@0.1.0";
/// Interfaces that every policy may import.
const ALWAYS_GRANTED: [&str; 4] = ["types", "log", "settings", "clock"];
/// Interfaces of the contract whose host side does not exist yet.
const NOT_OFFERED: [&str; 3] = ["state", "http", "model"];
/// Packages of WASI 0.2 that guests of other languages bring along.
const WASI_PACKAGES: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

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
    /// An import or export has another shape than the contract's.
    #[error("it does not fit the contract: {0}")]
    Mismatch(String),
}

/// A version of a plugin, compiled and linked, ready to be called for any number of events.
pub struct Plugin {
    /// SHA-256 of the component's bytes in hexadecimal: the version's name.
    pub digest: String,
    pub(super) instance: InstancePre<StageState>,
    pub(super) classifier: Option<classifier::GuestIndices>,
    pub(super) triager: Option<triager::GuestIndices>,
}

impl Plugin {
    /// Whether it exports `classifier`.
    pub fn can_classify(&self) -> bool {
        self.classifier.is_some()
    }

    /// Whether it exports `triager`.
    pub fn can_triage(&self) -> bool {
        self.triager.is_some()
    }
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

/// Checks, compiles and links a component.
pub(super) fn load(
    engine: &Engine,
    linker: &Linker<StageState>,
    bytes: &[u8],
) -> Result<Plugin, LoadError> {
    if !begins_like_component(bytes) {
        return Err(LoadError::Invalid(
            "these bytes do not begin like a WebAssembly component".to_owned(),
        ));
    }
    let component =
        Component::from_binary(engine, bytes).map_err(|error| LoadError::Invalid(chain(&error)))?;
    let kind = component.component_type();
    for (name, _) in kind.imports(engine) {
        check_import(name)?;
    }
    let exports = |interface: &str| {
        let wanted = format!("{PACKAGE}{interface}{VERSION}");
        kind.exports(engine).any(|(name, _)| name == wanted)
    };
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch(chain(&error));
    let instance = linker.instantiate_pre(&component).map_err(mismatch)?;
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
    Ok(Plugin {
        digest: digest(bytes),
        instance,
        classifier,
        triager,
    })
}

/// The name of a version: SHA-256 of its bytes in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn check_import(name: &str) -> Result<(), LoadError> {
    if name.starts_with("wasi:http/") {
        return Err(LoadError::WasiHttp(name.to_owned()));
    }
    if WASI_PACKAGES.iter().any(|it| name.starts_with(it)) && name.contains("@0.2.") {
        // Linked with nothing in it; an interface that wasmtime does not know fails when it is linked.
        return Ok(());
    }
    let interface = name
        .strip_prefix(PACKAGE)
        .and_then(|it| it.strip_suffix(VERSION));
    match interface {
        Some(interface) if ALWAYS_GRANTED.contains(&interface) => Ok(()),
        Some(interface) if NOT_OFFERED.contains(&interface) => {
            Err(LoadError::NotOffered(name.to_owned()))
        }
        _ => Err(LoadError::UnknownImport(name.to_owned())),
    }
}

/// A component's first eight bytes: magic, version 13, layer 1 (component model, `Binary.md`).
fn begins_like_component(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x0d\0\x01\0")
}

fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}
