//! Write triage policies in Rust.
//!
//! A plugin is a type that implements [`Policy`], or only [`Classifier`] or [`Triager`], in a crate of type `cdylib`
//! that is built for `wasm32-unknown-unknown`. This is a whole one:
//!
//! ```
//! use serde::Deserialize;
//! use triage_plugin::{
//!     Action, Classification, Event, Failure, Plan, PluginInfo, Policy, Priority, Ticket,
//! };
//!
//! #[derive(Deserialize)]
//! struct Deploy {
//!     service: String,
//!     status: String,
//! }
//!
//! struct Deploys;
//!
//! impl Policy for Deploys {
//!     fn describe() -> PluginInfo {
//!         PluginInfo::new("deploys", "1.0.0", "Opens a ticket when a deploy fails.")
//!     }
//!
//!     fn classify(event: &Event) -> Result<Classification, Failure> {
//!         let deploy: Deploy = event.json()?;
//!         Ok(match deploy.status.as_str() {
//!             "failed" => Classification::new(Priority::High, "deploy", "a deploy failed"),
//!             _ => Classification::ignore("deploy", "nothing failed"),
//!         })
//!     }
//!
//!     fn triage(event: &Event, _: &Classification) -> Result<Plan, Failure> {
//!         let deploy: Deploy = event.json()?;
//!         let title = format!("The deploy of {} failed", deploy.service);
//!         let ticket = Ticket::new(&title, "Look at the pipeline's log.");
//!         Ok(Plan { summary: title, actions: vec![Action::ticket("ticket", "desk", ticket)] })
//!     }
//! }
//!
//! triage_plugin::export!(Deploys);
//!
//! # use triage_plugin::testing::{TestHost, event};
//! # let event = event("standard.deploy", &serde_json::json!({"service": "shop", "status": "failed"}));
//! # let decision = TestHost::new().decide::<Deploys>(&event).unwrap();
//! # assert_eq!(decision.plan.unwrap().summary, "The deploy of shop failed");
//! ```
//!
//! Its `Cargo.toml` needs no more than this:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"] # "rlib" for tests in `tests/`
//!
//! [dependencies]
//! serde = { version = "1", features = ["derive"] }
//! triage-plugin = "0.1"
//! ```
//!
//! What a plugin may call is in [`log`], [`settings`], [`clock`], [`state`], [`http`] and [`model`]. A built plugin
//! imports what it calls and nothing else, and what it imports must be granted to its policy.
//!
//! The same code runs natively, in tests: see [`testing`], and [`testing::check_fixtures`] for folders of events with
//! the decisions that they must lead to.

#[cfg(all(target_arch = "wasm32", feature = "arena"))]
mod arena;
mod event;
mod types;

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(missing_docs, unsafe_code, reason = "generated")]
#[doc(hidden)]
pub mod bindings;
mod export;
mod host;
pub mod log;
mod parse;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use export::{Classifier, Policy, Triager};
pub use host::{clock, http, model, state};
pub use parse::{at, settings};
pub use types::*;
