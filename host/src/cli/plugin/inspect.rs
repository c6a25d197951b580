//! Says what a component is: its digest, what it offers, what it asks for.
//!
//! Called by `triage plugin inspect` and after each build. It runs nothing and
//! compiles nothing; whether the host accepts the component is decided when it
//! is pushed.

use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use wit_component::DecodedWasm;
use wit_parser::{PackageName, Resolve, WorldItem, WorldKey};

use super::core_module::{self, Layer, Malformed};

/// The version of the contract that this program speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// What a policy may call without being granted it.
const ALWAYS_GRANTED: [&str; 4] = ["types", "log", "settings", "clock"];
/// What a policy may call only where its grants say so.
const NEEDS_GRANT: [&str; 3] = ["state", "http", "model"];
/// What a plugin may offer.
const OFFERS: [&str; 3] = ["plugin", "classifier", "triager"];

/// Everything that can be said about a component without running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// SHA-256 of the bytes, in hex: the name of this version.
    pub digest: String,
    /// Size.
    pub bytes: usize,
    /// What it offers of the contract.
    pub exports: Vec<Export>,
    /// What it exports besides; the host does not call it.
    pub other_exports: Vec<String>,
    /// What it asks for.
    pub imports: Imports,
}

/// One interface of the contract that a component offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// `plugin`, `classifier` or `triager`.
    pub interface: String,
    /// Version of the contract it was built for.
    pub version: String,
}

/// The interfaces that a component imports, by what the host does about them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imports {
    /// There for every policy.
    pub always_granted: Vec<String>,
    /// There only for a policy with the grant.
    pub needs_grant: Vec<String>,
    /// WASI; answered with nothing, no policy needs it.
    pub wasi: Vec<String>,
    /// Not known to this version of the host: the component cannot run.
    pub unknown: Vec<String>,
}

/// Why bytes could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A core module.
    #[error(
        "this is a core module, not a component; `triage plugin build FILE` makes a component of it"
    )]
    CoreModule,
    /// Something else, or a damaged file.
    #[error("this is no WebAssembly component: {0}")]
    NotWasm(#[from] Malformed),
    /// A component that is not valid.
    #[error("the component is not valid; build it again")]
    Invalid(#[source] anyhow::Error),
    /// A WIT package in binary form.
    #[error("this holds interface definitions only, no code; name the component's file")]
    WitPackage,
}

impl Inspection {
    /// Whether it can be a stage of a policy.
    pub fn is_policy(&self) -> bool {
        self.exports.iter().any(|it| it.interface != "plugin")
    }
}

/// Looks at a component.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    match core_module::layer(bytes)? {
        Layer::Module => return Err(InspectError::CoreModule),
        Layer::Component => (),
    }
    let decoded = wit_component::decode(bytes).map_err(InspectError::Invalid)?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(InspectError::WitPackage);
    };
    let mut inspection = Inspection {
        digest: hex::encode(Sha256::digest(bytes)),
        bytes: bytes.len(),
        exports: Vec::new(),
        other_exports: Vec::new(),
        imports: Imports::default(),
    };
    let Some(world) = resolve.worlds.get(world) else {
        return Ok(inspection);
    };
    for (key, item) in &world.imports {
        // A type that a world brings along by name is no capability.
        if !matches!(item, WorldItem::Type { .. }) {
            sort_import(&mut inspection.imports, &resolve, key);
        }
    }
    for key in world.exports.keys() {
        match contract_interface(&resolve, key, &OFFERS) {
            Some((interface, version)) => inspection.exports.push(Export { interface, version }),
            None => inspection.other_exports.push(resolve.name_world_key(key)),
        }
    }
    Ok(inspection)
}

/// Writes an aligned table for people.
pub fn render(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    let exports: Vec<String> = inspection
        .exports
        .iter()
        .map(|it| format!("{} {}", it.interface, it.version))
        .collect();
    let imports = &inspection.imports;
    row(out, "digest", &inspection.digest)?;
    row(out, "size", &format_size(inspection.bytes))?;
    row(out, "offers", &list(&exports))?;
    row(out, "uses", &list(&imports.always_granted))?;
    row(out, "needs a grant", &list(&imports.needs_grant))?;
    if !imports.wasi.is_empty() {
        row(out, "wasi", &list(&imports.wasi))?;
    }
    if !imports.unknown.is_empty() {
        row(out, "unknown", &list(&imports.unknown))?;
    }
    if !inspection.is_policy() {
        let note = "offers neither classifier nor triager, so no policy can use it";
        row(out, "note", note)?;
    }
    if !imports.unknown.is_empty() {
        let note = "imports what this host does not have, so it cannot run here";
        row(out, "note", note)?;
    }
    Ok(())
}

fn sort_import(imports: &mut Imports, resolve: &Resolve, key: &WorldKey) {
    if let Some((name, _)) = contract_interface(resolve, key, &ALWAYS_GRANTED) {
        imports.always_granted.push(name);
    } else if let Some((name, _)) = contract_interface(resolve, key, &NEEDS_GRANT) {
        imports.needs_grant.push(name);
    } else {
        let name = resolve.name_world_key(key);
        // The host never has wasi:http, which would go around the policy's grants.
        match name.starts_with("wasi:") && !name.starts_with("wasi:http/") {
            true => imports.wasi.push(name),
            false => imports.unknown.push(name),
        }
    }
}

/// Name and version of an interface of the contract, if it is one of `names`
/// in a version that this program speaks.
fn contract_interface(
    resolve: &Resolve,
    key: &WorldKey,
    names: &[&str],
) -> Option<(String, String)> {
    let WorldKey::Interface(id) = key else {
        return None;
    };
    let interface = resolve.interfaces.get(*id)?;
    let name = interface.name.as_deref()?;
    let package = resolve.packages.get(interface.package?)?;
    if !names.contains(&name) || !speaks(&package.name) {
        return None;
    }
    let version = package.name.version.as_ref()?;
    Some((name.to_owned(), version.to_string()))
}

/// Whether a package is the contract in a compatible version: before 1.0 the
/// first two numbers must agree.
fn speaks(package: &PackageName) -> bool {
    let ours = (package.namespace.as_str(), package.name.as_str()) == ("triage", "policy");
    let version = package.version.as_ref().map(ToString::to_string);
    ours && version.is_some_and(|it| compatible(&it, CONTRACT_VERSION))
}

fn compatible(one: &str, other: &str) -> bool {
    let series = |it: &str| {
        let mut parts = it.split('.');
        (
            parts.next().map(str::to_owned),
            parts.next().map(str::to_owned),
        )
    };
    series(one) == series(other)
}

/// Writes one aligned line.
pub(super) fn row(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<14} {value}")
}

fn list(items: &[String]) -> String {
    match items.is_empty() {
        true => "nothing".to_owned(),
        false => items.join(", "),
    }
}

/// A size for people, with the exact number of bytes.
pub fn format_size(bytes: usize) -> String {
    let tenths = bytes.saturating_mul(10) / 1024;
    format!("{}.{} KiB ({bytes} bytes)", tenths / 10, tenths % 10)
}
