//! The nouns: plain data and ids, no I/O.
//!
//! Every other module speaks in these types. Nothing here reads a clock, a
//! file or a database; what a state change means is decided in `lifecycle`.

pub mod action;
pub mod budget;
pub mod custom_source;
pub mod decision;
pub mod event;
pub mod id;
pub mod integration;
pub mod outcome;
pub mod pointer;
pub mod policy;
pub mod queue;
pub mod rate;
pub mod run;
pub mod secret;
pub mod source;
pub mod strike;
pub mod tenant;
pub mod time;
pub mod trigger;
pub mod version;
