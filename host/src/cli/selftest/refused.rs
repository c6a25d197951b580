//! Files that must not be loaded, made when the self-test begins.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::guest::Guest;

/// How a file is made.
#[derive(Clone, Copy)]
pub(super) enum Made {
    /// The text of a component.
    Text(&'static str),
    /// A component with this text, that many times.
    Times(&'static str, usize),
    /// These, that many times, around one another: what opens, what is inside, what closes.
    Nested(&'static str, &'static str, &'static str, usize),
    /// A component that seems to offer a classifier, and has lists of lists, so many deep.
    Lists(usize),
    /// A component that imports this interface.
    Importing(&'static str),
    /// A component that offers this interface, with a function of another type.
    Offering(&'static str),
    /// A good component whose memory has this many pages at first.
    Pages(&'static str),
    /// A good component with something more in its module.
    Beside(&'static str),
    /// The same, that many times.
    BesideTimes(&'static str, usize),
    /// A good component whose body is this, that many times.
    BodyTimes(&'static str, usize),
    /// A good component with that many blocks in one another.
    Blocks(usize),
    /// A good component that jumps to one of that many places.
    Jumps(usize),
    /// A good component with functions of that many loads, each from where the one before points to.
    Loads(usize, usize),
    /// A good component with a custom section of so many bytes.
    Custom(usize),
    /// A good component with a section that says that it is longer than the file.
    Lying,
    /// Half of a good component.
    Truncated,
    /// A core module.
    Module,
    /// A file of so many bytes, with a hole in it.
    Hole(u64),
}

/// The bytes of a file; those of a hole are not there.
pub(super) fn bytes(made: Made) -> anyhow::Result<Vec<u8>> {
    let component = |inside: &str| {
        wat::parse_str(format!("(component {inside})")).context("a component of the self-test")
    };
    match made {
        Made::Text(text) => component(text),
        Made::Times(text, count) => component(&text.repeat(count)),
        Made::Nested(open, inside, close, depth) => {
            component(&(open.repeat(depth) + inside + &close.repeat(depth)))
        }
        Made::Importing(interface) => component(&format!(
            r#"(import "{interface}" (instance (export "f" (func))))"#
        )),
        Made::Offering(interface) => component(&offering(interface)),
        Made::Lists(depth) => {
            let mut text = "(type (list u8))".to_owned();
            for inner in 0..depth {
                write!(text, "(type (list {inner}))")?;
            }
            component(&(text + &offering("triage:policy/classifier@0.1.0")))
        }
        Made::Pages(pages) => {
            let good = Guest::that("");
            Guest { pages, ..good }.component()
        }
        Made::Beside(more) => beside(more),
        Made::BesideTimes(more, count) => beside(&more.repeat(count)),
        Made::BodyTimes(part, count) => beside(&format!("(func {})", part.repeat(count))),
        Made::Blocks(depth) => beside(&format!(
            "(func {}{})",
            "block ".repeat(depth),
            "end ".repeat(depth)
        )),
        Made::Jumps(places) => beside(&format!(
            "(func (block (br_table {} (i32.load (i32.const 0)))))",
            "0 ".repeat(places)
        )),
        Made::Loads(functions, steps) => {
            let mut body = "(i32.load (i32.const 0)) ".to_owned();
            for step in 0..steps {
                write!(
                    body,
                    "i32.const {} i32.and i32.load ",
                    64 + 4 * (step % 1_900)
                )?;
            }
            beside(&format!("(func {body} drop)").repeat(functions))
        }
        Made::Custom(count) => Ok(with_section(0, count)?),
        Made::Lying => {
            let mut bytes = good()?;
            bytes.extend([0, 0xff, 0xff, 0xff, 0x7f, 1, b'x']);
            Ok(bytes)
        }
        Made::Truncated => {
            let mut bytes = good()?;
            bytes.truncate(bytes.len() / 2);
            Ok(bytes)
        }
        Made::Module => Ok(wat::parse_str("(module)")?),
        Made::Hole(_) => Ok(Vec::new()),
    }
}

/// What offers this interface, with a function that takes and gives nothing.
fn offering(interface: &str) -> String {
    format!(
        r#"(core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $x (export "classify" (func $f)))
        (export "{interface}" (instance $x))"#
    )
}

fn good() -> anyhow::Result<Vec<u8>> {
    Guest::that("").component()
}

/// A good component whose module has more in it; not one that was optimised.
fn beside(more: &str) -> anyhow::Result<Vec<u8>> {
    Guest::that("").component_with(more)
}

/// A good component and a section of so many bytes, which begins with an empty name.
fn with_section(id: u8, count: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = good()?;
    bytes.push(id);
    let mut rest = count + 1;
    while 0x7f < rest {
        bytes.push(u8::try_from(rest & 0x7f)? | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest)?);
    bytes.resize(bytes.len() + count + 1, 0);
    Ok(bytes)
}
