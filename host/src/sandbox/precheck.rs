//! Looks at a component's bytes before anything compiles them: is it one, is it small enough in every part,
//! does it ask for what this host has, does it offer what a policy needs?
//!
//! Pure, called by `load`. It reads each byte at most once and never recurses, so that hostile bytes cost no
//! more than their length. Whether the code is valid is left to the compiler's process.

mod limits;
#[cfg(test)]
mod tests;

use wasmtime::wasmparser::{
    BinaryReaderError, ComponentExportSectionReader, ComponentImportSectionReader,
    ComponentTypeRef, Encoding, FunctionBody, Parser, Payload,
};

use super::load::LoadError;
pub use limits::{COMPONENT_BYTES, Limit};

/// The contract's package and version.
pub(super) const PACKAGE: &str = "triage:policy/";
pub(super) const VERSION: &str = "@0.1.0";
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
/// Interfaces of which a policy needs at least one.
const STAGES: [&str; 2] = ["classifier", "triager"];

/// The first eight bytes: magic, version 13, layer 1 (component model, `Binary.md`).
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The same of a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Whether the compiler may be given these bytes.
///
/// # Errors
/// Names the limit, import, export or byte that does not fit.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    within(limits::COMPONENT_BYTES, bytes.len() as u64)?;
    if bytes.starts_with(MODULE) {
        return Err(LoadError::Invalid(
            "this is a core module, which `triage plugin build FILE` packs into a component"
                .to_owned(),
        ));
    }
    if !bytes.starts_with(COMPONENT) {
        return Err(LoadError::Invalid(
            "these bytes do not begin like a WebAssembly component".to_owned(),
        ));
    }
    let mut counts = Counts {
        component_bytes: bytes.len() as u64,
        ..Counts::default()
    };
    for payload in Parser::new(0).parse_all(bytes) {
        counts.take(&payload.map_err(malformed)?)?;
    }
    match counts.offers_stage {
        true => Ok(()),
        false => Err(LoadError::NoPolicy),
    }
}

/// Whether a component may import this.
///
/// # Errors
/// Names what it may not.
pub(super) fn check_import(name: &str) -> Result<(), LoadError> {
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

fn within(limit: Limit, found: u64) -> Result<(), LoadError> {
    if limit.most < found {
        return Err(LoadError::TooLarge { limit, found });
    }
    Ok(())
}

fn malformed(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(format!(
        "at byte {}: {}",
        error.offset(),
        error.message().trim_end()
    ))
}

/// What was seen so far, nested modules and components included.
#[derive(Default)]
struct Counts {
    component_bytes: u64,
    depth: u64,
    modules: u64,
    components: u64,
    core_instances: u64,
    component_instances: u64,
    functions: u64,
    types: u64,
    imports: u64,
    exports: u64,
    aliases: u64,
    memories: u64,
    tables: u64,
    globals: u64,
    data_segments: u64,
    element_segments: u64,
    custom_bytes: u64,
    custom_sections: u64,
    offers_stage: bool,
}

/// Adds to a count, within its limit.
fn add(count: &mut u64, more: u32, limit: Limit) -> Result<(), LoadError> {
    *count += u64::from(more);
    within(limit, *count)
}

impl Counts {
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding),
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.body(body),
            Payload::CustomSection(section) => {
                add(&mut self.custom_sections, 1, limits::CUSTOM_SECTIONS)?;
                within(limits::NAME_BYTES, section.name().len() as u64)?;
                self.custom_bytes += section.data().len() as u64;
                within(limits::CUSTOM_BYTES, self.custom_bytes)
            }
            Payload::ComponentImportSection(section) => self.component_imports(section.clone()),
            Payload::ComponentExportSection(section) => self.component_exports(section.clone()),
            Payload::UnknownSection { id, range, .. } => Err(LoadError::Invalid(format!(
                "at byte {}: a section of unknown kind {id}",
                range.start
            ))),
            other => self.section(other),
        }
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), LoadError> {
        self.depth += 1;
        within(limits::NESTING, self.depth)?;
        match encoding {
            Encoding::Module => add(&mut self.modules, 1, limits::MODULES),
            Encoding::Component if self.depth == 1 => Ok(()),
            Encoding::Component => add(&mut self.components, 1, limits::COMPONENTS),
        }
    }

    /// Sections of which only the number of entries counts.
    fn section(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::TypeSection(it) => add(&mut self.types, it.count(), limits::TYPES),
            Payload::CoreTypeSection(it) => add(&mut self.types, it.count(), limits::TYPES),
            Payload::ComponentTypeSection(it) => add(&mut self.types, it.count(), limits::TYPES),
            Payload::ImportSection(it) => add(&mut self.imports, it.count(), limits::IMPORTS),
            Payload::ExportSection(it) => add(&mut self.exports, it.count(), limits::EXPORTS),
            Payload::FunctionSection(it) => add(&mut self.functions, it.count(), limits::FUNCTIONS),
            Payload::TableSection(it) => add(&mut self.tables, it.count(), limits::TABLES),
            Payload::MemorySection(it) => add(&mut self.memories, it.count(), limits::MEMORIES),
            Payload::TagSection(it) => add(&mut self.globals, it.count(), limits::GLOBALS),
            Payload::GlobalSection(it) => add(&mut self.globals, it.count(), limits::GLOBALS),
            Payload::ElementSection(it) => add(
                &mut self.element_segments,
                it.count(),
                limits::ELEMENT_SEGMENTS,
            ),
            Payload::DataSection(it) => {
                add(&mut self.data_segments, it.count(), limits::DATA_SEGMENTS)
            }
            Payload::InstanceSection(it) => {
                add(&mut self.core_instances, it.count(), limits::CORE_INSTANCES)
            }
            Payload::ComponentInstanceSection(it) => add(
                &mut self.component_instances,
                it.count(),
                limits::COMPONENT_INSTANCES,
            ),
            Payload::ComponentAliasSection(it) => {
                add(&mut self.aliases, it.count(), limits::ALIASES)
            }
            Payload::ComponentCanonicalSection(it) => {
                add(&mut self.aliases, it.count(), limits::ALIASES)
            }
            // Without entries of their own: starts, counts, and the frames of what is seen next.
            _ => Ok(()),
        }
    }

    fn component_imports(
        &mut self,
        section: ComponentImportSectionReader<'_>,
    ) -> Result<(), LoadError> {
        add(&mut self.imports, section.count(), limits::IMPORTS)?;
        if self.depth != 1 {
            // What inner components import, the outer ones give them.
            return Ok(());
        }
        for import in section {
            let import = import.map_err(malformed)?;
            within(limits::NAME_BYTES, import.name.name.len() as u64)?;
            // A type that a world brings along by name is no capability.
            if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                check_import(import.name.name)?;
            }
        }
        Ok(())
    }

    fn component_exports(
        &mut self,
        section: ComponentExportSectionReader<'_>,
    ) -> Result<(), LoadError> {
        add(&mut self.exports, section.count(), limits::EXPORTS)?;
        if self.depth != 1 {
            return Ok(());
        }
        for export in section {
            let name = export.map_err(malformed)?.name.name;
            within(limits::NAME_BYTES, name.len() as u64)?;
            let interface = name
                .strip_prefix(PACKAGE)
                .and_then(|it| it.strip_suffix(VERSION));
            self.offers_stage |= interface.is_some_and(|it| STAGES.contains(&it));
        }
        Ok(())
    }

    fn body(&self, body: &FunctionBody<'_>) -> Result<(), LoadError> {
        let share = self.component_bytes / limits::FUNCTION_SHARE;
        let limit = Limit {
            most: limits::FUNCTION_BYTES.most.max(share),
            ..limits::FUNCTION_BYTES
        };
        within(limit, body.as_bytes().len() as u64)?;
        let mut locals = body.get_locals_reader().map_err(malformed)?;
        let mut count = 0;
        for _ in 0..locals.get_count() {
            let (more, _) = locals.read().map_err(malformed)?;
            add(&mut count, more, limits::LOCALS)?;
        }
        Ok(())
    }
}
