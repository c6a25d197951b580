//! Rust types and calls made from `wit/`. Named only by `host`, `convert`, `load` and `evaluate`.

#![allow(missing_docs, reason = "made from the documented WIT")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "policy-plugin",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
