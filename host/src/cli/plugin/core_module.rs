//! Reads the outermost sections of a WebAssembly binary.
//!
//! Called by `pack` to learn what a core module exports and by `inspect` before
//! it decodes a component. It looks at no code and checks no types; the
//! component tools do.

/// What the first eight bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A core module, as a compiler writes it.
    Module,
    /// A component, as the host runs it.
    Component,
}

/// Why the sections could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The first bytes are something else.
    #[error("it does not begin like WebAssembly")]
    Magic,
    /// A section claims more bytes than there are.
    #[error("it ends in the middle of a section")]
    Truncated,
    /// A number or a name cannot be read.
    #[error("a section cannot be read")]
    Section,
}

const MAGIC: &[u8] = b"\0asm";
const MODULE: &[u8] = &[1, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
const EXPORT_SECTION: u8 = 7;

/// Says whether the bytes are a core module or a component, and whether every
/// outermost section is all there.
pub fn layer(bytes: &[u8]) -> Result<Layer, Malformed> {
    let (layer, mut rest) = header(bytes)?;
    while !rest.is_empty() {
        section(&mut rest)?;
    }
    Ok(layer)
}

/// The names that a core module exports, in their order.
pub fn exports(module: &[u8]) -> Result<Vec<String>, Malformed> {
    let (_, mut rest) = header(module)?;
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (id, mut body) = section(&mut rest)?;
        if id != EXPORT_SECTION {
            continue;
        }
        for _ in 0..number(&mut body)? {
            let length = number(&mut body)?;
            let name = take(&mut body, length).ok_or(Malformed::Section)?;
            let name = str::from_utf8(name).map_err(|_| Malformed::Section)?;
            names.push(name.to_owned());
            take(&mut body, 1).ok_or(Malformed::Section)?; // Its kind.
            number(&mut body)?; // Its index.
        }
    }
    Ok(names)
}

fn header(bytes: &[u8]) -> Result<(Layer, &[u8]), Malformed> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Malformed::Magic)?;
    if let Some(rest) = rest.strip_prefix(MODULE) {
        return Ok((Layer::Module, rest));
    }
    let rest = rest.strip_prefix(COMPONENT).ok_or(Malformed::Magic)?;
    Ok((Layer::Component, rest))
}

fn section<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Malformed> {
    let (id, after) = rest.split_first().ok_or(Malformed::Truncated)?;
    *rest = after;
    let length = number(rest)?;
    let body = take(rest, length).ok_or(Malformed::Truncated)?;
    Ok((*id, body))
}

fn take<'a>(rest: &mut &'a [u8], count: u32) -> Option<&'a [u8]> {
    let (front, back) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = back;
    Some(front)
}

/// An unsigned LEB128 number of at most 32 bits.
fn number(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, after) = rest.split_first().ok_or(Malformed::Section)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Malformed::Section);
        }
    }
    Err(Malformed::Section)
}
