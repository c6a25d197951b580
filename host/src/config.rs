//! What the operator configured: one file and the environment, checked as a whole.
//!
//! `config::raw` is what the file says, [`Config`] is what it means. After the
//! start nothing reads the environment. Whether a plugin's component fits its
//! policy is not checked here but by `registry`, which loads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use crate::model::integration::{Destination, Integration};
use crate::model::policy::Policy;

/// The whole configuration: every name in it leads somewhere.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How the outside reaches this host; without a slash at the end.
    pub public_url: Url,
    /// The SQLite file.
    pub database: PathBuf,
    /// Addresses that outgoing requests may reach although they are not public.
    pub egress_allow: Vec<IpNet>,
    /// By id.
    pub integrations: BTreeMap<String, Integration>,
    /// By name: the component's file.
    pub plugins: BTreeMap<String, PathBuf>,
    /// By name.
    pub destinations: BTreeMap<String, Destination>,
    /// In the order of the file.
    pub policies: Vec<Policy>,
}

impl Config {
    /// The policies that want an event of this type, in the order of the file.
    pub fn policies_for<'a>(&'a self, tenant: &'a str, event_type: &'a str) -> impl Iterator<Item = &'a Policy> {
        self.policies
            .iter()
            .filter(move |it| it.tenant == tenant && it.triggers.iter().any(|trigger| trigger.matches(event_type)))
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|it| it.name == name)
    }
}
