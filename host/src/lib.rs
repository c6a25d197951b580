//! A host for webhook triage policies.
//!
//! An event walks through these modules, in this order:
//!
//! 1. [`http`] receives it, [`sources`] proves who sent it and names it, [`routing`] tells which
//!    policies get a run;
//! 2. [`store`] keeps it, with one run per policy, in one transaction;
//! 3. [`worker`] claims runs, as many of each tenant as [`fairness`] says, [`registry`] and
//!    [`deployments`] know which version of a plugin runs,
//!    [`sandbox`] evaluates it, [`lifecycle`] decides what happens next;
//! 4. [`actions`] carries out what a decision asked for, through [`egress`].
//!
//! [`app`] builds all of it, [`live`] holds the settings in force and
//! [`reload`] replaces them; [`model`] holds the nouns that they share.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod fail_point;
pub mod live;
pub mod model;
pub mod runtimes;
pub mod threads;

// The order of data. Blank lines keep it: a formatter sorts what stands together.
pub mod http;

pub mod sources;

pub mod content;

pub mod routing;

pub mod store;

pub mod retention;

pub mod integrations;

pub mod fairness;
pub mod worker;

pub mod registry;

pub mod deployments;

pub mod capabilities;
pub mod sandbox;

pub mod lifecycle;

pub mod actions;
pub mod egress;

pub mod reload;
