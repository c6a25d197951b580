//! See `checks::declared`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target needs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::declared(input));
