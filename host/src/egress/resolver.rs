//! Turns a URL's name into addresses that the host may connect to.
//!
//! The HTTP client connects to exactly what this returns: the name is looked up once for
//! each connection and checked on the way, so a second, different answer (DNS rebinding)
//! is checked like the first. Addresses in place of a name never come here.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::address;

/// Addresses of one name that are tried.
///
/// They share the time that connecting may take; a name with many gives each too little.
const ADDRESSES_MAX: usize = 8;

/// Names looked up at the same time.
///
/// A lookup blocks a thread of tokio's shared pool, for as long as the system's resolver
/// likes, even after the request has given up. Names under somebody else's control must
/// not take all 512.
const LOOKUPS_MAX: usize = 64;

/// Asks for a name's addresses; may block.
pub type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// A resolver that answers only with addresses that may be connected to.
pub struct CheckedResolver {
    allow: Arc<[IpNet]>,
    lookup: Arc<Lookup>,
    lookups: Arc<Semaphore>,
}

impl CheckedResolver {
    /// A resolver in front of `lookup`.
    pub fn new(allow: Arc<[IpNet]>, lookup: Arc<Lookup>) -> Self {
        Self {
            allow,
            lookup,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, lookup) = (Arc::clone(&self.allow), Arc::clone(&self.lookup));
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // Given back when the lookup is over, not when nobody waits for it any more.
                let _permit = permit;
                let addresses = lookup(name.as_str())?;
                Ok::<_, io::Error>(address::permitted(name.as_str(), addresses, &allow))
            });
            let mut addresses = found.await???;
            addresses.truncate(ADDRESSES_MAX);
            // Port 0 stands for the URL's own.
            Ok(Box::new(addresses.into_iter().map(|it| SocketAddr::new(it, 0))) as Addrs)
        })
    }
}

/// Asks the operating system, as `getaddrinfo` does.
pub fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|it| it.ip()).collect())
}
