//! Makes a component of what a compiler wrote.
//!
//! Called by `triage plugin build` and by `cargo xtask`. It reads no files and
//! runs no compiler; `build` does.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{Resolve, SourceMap, WorldId, WorldItem, WorldKey};

use super::core_module::{self, Layer, Malformed};
use super::inspect::{self, CONTRACT_VERSION, InspectError};

/// The contract, as it was when this program was built.
pub(in crate::cli) const WIT: [(&str, &str); 3] = [
    ("types.wit", include_str!("../../../../wit/types.wit")),
    ("host.wit", include_str!("../../../../wit/host.wit")),
    ("worlds.wit", include_str!("../../../../wit/worlds.wit")),
];
const STUB: &str = include_str!("wasip1_stub.wat");
const CONTRACT: &str = "triage:policy/";
/// The functions that a plugin may offer, by their interface.
const FUNCTIONS: [(&str, &str); 3] = [
    ("plugin", "describe"),
    ("classifier", "classify"),
    ("triager", "triage"),
];

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Neither WebAssembly nor its text form.
    #[error("this is neither WebAssembly nor its text form (.wat)")]
    NotWasm(#[source] anyhow::Error),
    /// A damaged binary.
    #[error("the WebAssembly file is damaged: {0}; build it again")]
    Malformed(#[from] Malformed),
    /// Nothing that a policy could use.
    #[error(
        "the module offers no policy: it exports {found}; \
         export classifier or triager of triage:policy@{CONTRACT_VERSION}"
    )]
    NoPolicyExport {
        /// What it exports instead.
        found: String,
    },
    /// Built for a version of the contract that this program does not have.
    #[error(
        "the module was built for {found}, this program knows triage:policy@{CONTRACT_VERSION}; \
         build it with the SDK of this version, or take a newer triage"
    )]
    UnknownVersion {
        /// The export as the module names it.
        found: String,
    },
    /// Imports that no host function answers.
    #[error(
        "the component imports {0}, which the host does not have; \
         a plugin may import triage:policy@{CONTRACT_VERSION} only"
    )]
    UnknownImport(String),
    /// The module does not follow the contract.
    #[error("the module does not follow the contract of triage:policy@{CONTRACT_VERSION}")]
    Contract(#[source] anyhow::Error),
    /// The component that came in, or came out, is not valid.
    #[error(transparent)]
    Component(#[from] InspectError),
    /// A fault in this program's own parts.
    #[error("the contract built into this program cannot be used; please report this")]
    Builtin(#[source] anyhow::Error),
}

/// Makes a validated component of a core module, binary or text. A component
/// comes back as it is.
pub fn pack(input: &[u8]) -> Result<Vec<u8>, PackError> {
    let wasm = wat::parse_bytes(input).map_err(|error| PackError::NotWasm(error.into()))?;
    let component = match core_module::layer(&wasm)? {
        Layer::Component => wasm.into_owned(),
        Layer::Module => encode(&with_contract(&wasm)?)?,
    };
    let inspection = inspect::inspect(&component)?;
    if !inspection.imports.unknown.is_empty() {
        return Err(PackError::UnknownImport(list(&inspection.imports.unknown)));
    }
    if !inspection.is_policy() {
        let ours = inspection.exports.iter().map(|it| it.interface.clone());
        let found: Vec<String> = ours.chain(inspection.other_exports).collect();
        return Err(PackError::NoPolicyExport {
            found: list(&found),
        });
    }
    Ok(component)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, PackError> {
    let stub = wat::parse_str(STUB).map_err(|error| PackError::Builtin(error.into()))?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(module).map_err(PackError::Contract)?;
    // Left out by the encoder where the module does not import it.
    encoder
        .adapter("wasi_snapshot_preview1", &stub)
        .map_err(PackError::Builtin)?;
    encoder.encode().map_err(PackError::Contract)
}

/// The module with a description of its interfaces that fits what it exports.
///
/// Bindings made beforehand describe a whole world, while an author may
/// implement a part of it, and some toolchains describe nothing at all.
pub(super) fn with_contract(module: &[u8]) -> Result<Vec<u8>, PackError> {
    let exports = core_module::exports(module)?;
    let offered = offered(&exports)?;
    let (stripped, described) =
        wit_component::metadata::decode(module).map_err(PackError::Contract)?;
    let described = Described::read(&described.resolve, described.world);
    if described.foreign || (stripped.is_some() && described.exports == offered) {
        return Ok(module.to_vec());
    }
    if offered.is_empty() {
        let found = list(&exports);
        return Err(PackError::NoPolicyExport { found });
    }
    let (resolve, world) = contract_world(&offered).map_err(PackError::Builtin)?;
    let mut module = stripped.unwrap_or_else(|| module.to_vec());
    let encoding = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false)
        .map_err(PackError::Builtin)?;
    Ok(module)
}

/// The interfaces of the contract that a module's exports implement, in the
/// order of `FUNCTIONS`.
fn offered(exports: &[String]) -> Result<Vec<&'static str>, PackError> {
    let name = |(interface, function): &(_, _)| {
        format!("{CONTRACT}{interface}@{CONTRACT_VERSION}#{function}")
    };
    let known: Vec<String> = FUNCTIONS.iter().map(name).collect();
    let unknown = exports
        .iter()
        .find(|it| it.starts_with(CONTRACT) && !known.contains(it));
    if let Some(found) = unknown {
        return Err(PackError::UnknownVersion {
            found: found.clone(),
        });
    }
    Ok(FUNCTIONS
        .iter()
        .filter(|it| exports.contains(&name(it)))
        .map(|(interface, _)| *interface)
        .collect())
}

/// What a module's own description says.
struct Described {
    /// Interfaces of the contract it exports, in the order of `FUNCTIONS`.
    exports: Vec<&'static str>,
    /// Whether it speaks of anything outside the contract.
    foreign: bool,
}

impl Described {
    fn read(resolve: &Resolve, world: WorldId) -> Described {
        let Some(world) = resolve.worlds.get(world) else {
            return Described {
                exports: Vec::new(),
                foreign: false,
            };
        };
        let foreign_item = |(key, item): (&WorldKey, &WorldItem)| {
            !matches!(item, WorldItem::Type { .. })
                && !resolve.name_world_key(key).starts_with(CONTRACT)
        };
        let exported: Vec<String> = world
            .exports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect();
        Described {
            exports: FUNCTIONS
                .iter()
                .map(|(interface, _)| *interface)
                .filter(|it| exported.contains(&format!("{CONTRACT}{it}@{CONTRACT_VERSION}")))
                .collect(),
            foreign: world.imports.iter().chain(&world.exports).any(foreign_item),
        }
    }
}

/// The contract with one more world, which exports what a module offers.
fn contract_world(offered: &[&str]) -> anyhow::Result<(Resolve, WorldId)> {
    let mut world = format!(
        "package triage:policy@{CONTRACT_VERSION};\nworld packed {{\n    include imports;\n"
    );
    for interface in offered {
        world.push_str(&format!("    export {interface};\n"));
    }
    world.push_str("}\n");
    let mut sources = SourceMap::default();
    for (name, text) in WIT {
        sources.push_str(name, text);
    }
    sources.push_str("packed.wit", world);
    let group = sources
        .parse()
        .map_err(|(sources, error)| anyhow::anyhow!(error.render(&sources)))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group)?;
    let world = resolve.select_world(&[package], Some("packed"))?;
    Ok((resolve, world))
}

fn list(names: &[String]) -> String {
    match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    }
}
