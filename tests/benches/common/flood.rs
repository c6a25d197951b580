//! Deliveries of one integration that go on beside what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use triage_host::model::source::Source;

use super::bodies::{Requests, sentry_issues};
use super::host::Host;
use super::kept::BODY_BYTES;
use super::load::Load;

/// Events of Sentry for one integration, at a fixed rate. They end when this is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    pub fn start(address: SocketAddr, integration: &str, per_second: f64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let path = format!("/v1/webhooks/{}/{integration}", Source::Sentry);
        let mut requests = Requests::sentry(&path, &sentry_issues(BODY_BYTES)?)?;
        let mut load = Load::connect(address, 4, Host::is_new)?;
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                load.pace(&mut requests, per_second, Duration::from_millis(500))?;
            }
            Ok(())
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    pub fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |it| {
            it.join().map_err(|_| anyhow!("the flood panicked"))?
        })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whoever wants to know how it ended asked before.
        let _ = self.end();
    }
}
