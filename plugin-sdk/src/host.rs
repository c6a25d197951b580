//! What a plugin may call: the host's functions in a component, the test host's elsewhere.

#[cfg(target_arch = "wasm32")]
use crate::bindings::policy_plugin::triage::policy as answers;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::answers;

pub(crate) use answers::{log, settings};

/// Time. Always granted; recorded, so that a rerun sees the same.
pub mod clock {
    pub use super::answers::clock::now;
}

/// What the policy remembers between events. Must be granted.
///
/// A run sees its own writes at once. They are kept when its decision is committed, and dropped when the attempt fails.
pub mod state {
    pub use super::answers::state::{append, delete, get, increment, recent, set};
    pub use crate::bindings::policy_plugin::triage::policy::state::{Entry, StateError};
}

/// HTTP requests to hosts that the policy was granted.
pub mod http {
    pub use super::answers::http::send;
    pub use crate::bindings::policy_plugin::triage::policy::http::{HttpError, Request, Response};
}

/// A language model that the policy was granted.
pub mod model {
    pub use super::answers::model::complete;
    pub use crate::bindings::policy_plugin::triage::policy::model::{
        Completion, ModelError, Prompt,
    };
}
