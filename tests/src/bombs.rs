//! Plugins that are hard to compile, in WebAssembly's text form. Small files, much work.

use std::fmt::Write;

use crate::guest::classifier;

/// A classifier beside functions of that many loads, each from where the one before points to. The time to
/// compile one grows with the square of `steps`, which take 7 bytes each.
pub fn loads(functions: usize, steps: u32) -> String {
    let mut body = "(i32.load (i32.const 0)) ".to_owned();
    for step in 0..steps {
        let mask = 64 + 4 * (step % 1_900);
        write!(body, "i32.const {mask} i32.and i32.load ").unwrap();
    }
    beside(&format!("(func {body} drop)").repeat(functions))
}

/// A classifier whose body computes one long sum, each step from the one before; they take up to 14 bytes each.
pub fn sum(steps: u32) -> String {
    let mut body = "(local $x i32) (i32.load (i32.const 0)) ".to_owned();
    for step in 0..steps {
        let (one, other) = (
            step.wrapping_mul(2_654_435_761) | 1,
            step.wrapping_mul(40_503) | 1,
        );
        let (one, other) = (one.cast_signed(), other.cast_signed());
        write!(body, "i32.const {one} i32.add i32.const {other} i32.mul ").unwrap();
    }
    classifier(&format!(
        "{body} local.set $x (i32.store (i32.const 0) (local.get $x))"
    ))
}

/// A classifier whose body asks one question after another.
pub fn questions(count: usize) -> String {
    let question = "(if (i32.load (i32.const 0)) (then (i32.store (i32.const 4) (i32.const 1)))) ";
    classifier(&question.repeat(count))
}

/// A classifier whose body is blocks in blocks.
pub fn blocks(depth: usize) -> String {
    classifier(&("(block ".repeat(depth) + &")".repeat(depth)))
}

/// A classifier whose body jumps to one of many places.
pub fn jumps(places: usize) -> String {
    let table = "0 ".repeat(places);
    classifier(&format!(
        "(block (br_table {table} (i32.load (i32.const 0))))"
    ))
}

/// A classifier beside that many small functions.
pub fn functions(count: usize) -> String {
    beside(&"(func (i32.store (i32.const 0) (i32.const 1)))".repeat(count))
}

/// A classifier with this many variables in its body.
pub fn variables(count: usize) -> String {
    classifier(&format!("(local {})", "i64 ".repeat(count)))
}

/// A classifier with this many segments of data.
pub fn segments(count: usize) -> String {
    beside(&"(data (i32.const 0) \"x\")".repeat(count))
}

/// A classifier with something more in its module.
fn beside(more: &str) -> String {
    let module = classifier("");
    let end = module.rfind(')').unwrap();
    format!("{}{more})", &module[..end])
}
