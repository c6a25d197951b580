//! How large a component may be, part by part.
//!
//! The numbers leave room above what the largest guests of common toolchains take: `componentize-py` 0.25 (18 MiB,
//! 113 core instances), `componentize-js` 0.23 with SpiderMonkey (12 MiB, 10,000 data segments), `componentize-qjs`
//! 0.4. They bound what the compiler is given; what it does with that is bounded by the limits of its own process.

use std::fmt;

use super::super::file::PLUGIN_BYTES_MAX;

/// One limit of a component, as an error names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted, with its unit where it is not a number of things.
    pub what: &'static str,
    /// The most of it.
    pub most: u64,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

const fn limit(what: &'static str, most: u64) -> Limit {
    Limit { what, most }
}

/// The file's size.
pub const COMPONENT_BYTES: Limit = limit("bytes", PLUGIN_BYTES_MAX);
/// How many components and modules are inside one another, the outermost counted.
pub const NESTING: Limit = limit("levels of nested components", 6);
/// Core modules, nested ones counted.
pub const MODULES: Limit = limit("core modules", 200);
/// Components inside the outermost.
pub const COMPONENTS: Limit = limit("nested components", 200);
/// Instances of core modules: every import that a module takes from others costs one.
pub const CORE_INSTANCES: Limit = limit("core instances", 1_000);
/// Instances of components.
pub const COMPONENT_INSTANCES: Limit = limit("component instances", 1_000);
/// Functions with a body, in all modules together.
pub const FUNCTIONS: Limit = limit("functions", 100_000);
/// The body of one function: the time to compile one can grow with the square of its size.
pub const FUNCTION_BYTES: Limit = limit("bytes in the body of one function", 256 << 10);
/// Which part of a large component one function may be, where that is more than [`FUNCTION_BYTES`]: an
/// interpreter's loop (of CPython 417 KiB in 18 MiB) is one function.
pub const FUNCTION_SHARE: u64 = 32;
/// Local variables of one function, its parameters not counted.
pub const LOCALS: Limit = limit("local variables in one function", 10_000);
/// Types of core modules and of components together; those inside a component's type count as one.
pub const TYPES: Limit = limit("types", 20_000);
/// Names that modules and components ask for.
pub const IMPORTS: Limit = limit("imports", 20_000);
/// Names that modules and components offer.
pub const EXPORTS: Limit = limit("exports", 50_000);
/// Aliases and canonical functions of components.
pub const ALIASES: Limit = limit("aliases and canonical functions", 50_000);
/// Linear memories that modules define.
pub const MEMORIES: Limit = limit("memories", 16);
/// Tables that modules define.
pub const TABLES: Limit = limit("tables", 400);
/// Global variables and tags that modules define.
pub const GLOBALS: Limit = limit("globals", 50_000);
/// Segments that fill memories.
pub const DATA_SEGMENTS: Limit = limit("data segments", 50_000);
/// Segments that fill tables.
pub const ELEMENT_SEGMENTS: Limit = limit("element segments", 20_000);
/// What is written for tools and never run: names, producers, debugging.
pub const CUSTOM_BYTES: Limit = limit("bytes of custom sections", 8 << 20);
/// Custom sections.
pub const CUSTOM_SECTIONS: Limit = limit("custom sections", 2_000);
/// One name of an import, an export or a custom section.
pub const NAME_BYTES: Limit = limit("bytes in one name", 1_000);
