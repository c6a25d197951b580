//! What `cargo xtask bindings` generates from `wit/`; authors use the rest of the crate instead.
//!
//! The worlds with fewer exports share the types of the full one.

#[rustfmt::skip]
pub mod policy_plugin;
#[rustfmt::skip]
pub mod classifier_plugin;
#[rustfmt::skip]
pub mod triager_plugin;
