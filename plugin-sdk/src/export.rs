//! The three kinds of plugin, and how each becomes the exports of a component.

use crate::bindings::{classifier_plugin, policy_plugin, triager_plugin};
use crate::types::{Classification, Event, Failure, Plan, PluginInfo};

/// A plugin that classifies events and decides what should happen; export it with [`export!`](crate::export).
pub trait Policy {
    /// What this plugin is. Asked once, when a version is pushed; it may call nothing but [`log`](crate::log).
    fn describe() -> PluginInfo;

    /// Says what kind of event this is and how much it matters.
    fn classify(event: &Event) -> Result<Classification, Failure>;

    /// Says what should happen. Not asked where the priority is `ignore`; the classification may be another plugin's.
    fn triage(event: &Event, classification: &Classification) -> Result<Plan, Failure>;
}

/// A plugin that only classifies; export it with [`export_classifier!`](crate::export_classifier).
pub trait Classifier {
    /// Says what kind of event this is and how much it matters.
    fn classify(event: &Event) -> Result<Classification, Failure>;
}

/// A plugin that only decides what should happen; export it with [`export_triager!`](crate::export_triager).
pub trait Triager {
    /// Says what should happen. Not asked where the priority is `ignore`.
    fn triage(event: &Event, classification: &Classification) -> Result<Plan, Failure>;
}

/// Makes a [`Policy`] the component's exports.
#[macro_export]
macro_rules! export {
    ($policy:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::bindings::policy_plugin::export_policy_plugin!($policy);
        };
    };
}

/// Makes a [`Classifier`] the component's exports.
#[macro_export]
macro_rules! export_classifier {
    ($classifier:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::bindings::classifier_plugin::export_classifier_plugin!($classifier);
        };
    };
}

/// Makes a [`Triager`] the component's exports.
#[macro_export]
macro_rules! export_triager {
    ($triager:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::bindings::triager_plugin::export_triager_plugin!($triager);
        };
    };
}

impl<P: Policy> policy_plugin::exports::triage::policy::plugin::Guest for P {
    fn describe() -> PluginInfo {
        P::describe()
    }
}

impl<P: Policy> policy_plugin::exports::triage::policy::classifier::Guest for P {
    fn classify(event: Event) -> Result<Classification, Failure> {
        P::classify(&event)
    }
}

impl<P: Policy> policy_plugin::exports::triage::policy::triager::Guest for P {
    fn triage(event: Event, classification: Classification) -> Result<Plan, Failure> {
        P::triage(&event, &classification)
    }
}

impl<C: Classifier> classifier_plugin::exports::triage::policy::classifier::Guest for C {
    fn classify(event: Event) -> Result<Classification, Failure> {
        C::classify(&event)
    }
}

impl<T: Triager> triager_plugin::exports::triage::policy::triager::Guest for T {
    fn triage(event: Event, classification: Classification) -> Result<Plan, Failure> {
        T::triage(&event, &classification)
    }
}
