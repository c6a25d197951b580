//! Another tenant's events: how long they take until they are decided, alone and beside the others.

use std::cell::Cell;
use std::time::Instant;

use serde::Serialize;

use super::server::{Server, at};

/// The integration of the tenant that does nothing bad.
pub(super) const INTEGRATION: &str = "quiet";
/// Its policy and plugin.
pub(super) const NAME: &str = "quiet";
/// Events that make what a server makes once.
const WARM_UP: usize = 20;
/// Events that it gets alone.
const ALONE: usize = 100;

/// How long events took, from the delivery to the decision, in milliseconds.
#[derive(Serialize)]
pub(super) struct Latency {
    pub events: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Latency {
    pub(super) fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let index = (ms.len() * percent / 100).min(ms.len().saturating_sub(1));
            ms.get(index).copied().unwrap_or_default()
        };
        Self {
            events: ms.len(),
            p50_ms: at(50),
            p99_ms: at(99),
        }
    }
}

/// Its events alone, one after the other.
pub(super) async fn alone(server: &Server) -> anyhow::Result<Latency> {
    for _ in 0..WARM_UP {
        decided(server).await?;
    }
    let mut ms = Vec::new();
    for _ in 0..ALONE {
        ms.push(decided(server).await?);
    }
    Ok(Latency::of(ms))
}

/// Does the work, and sends one of the neighbour's events after the other meanwhile.
pub(super) async fn while_going_on<T>(
    server: &Server,
    ms: &mut Vec<f64>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let is_over = Cell::new(false);
    let working = async {
        let done = work.await;
        is_over.set(true);
        done
    };
    // The last one is waited for: left out, the slowest would not count.
    let going_on = async {
        while !is_over.get() {
            ms.push(decided(server).await?);
        }
        Ok(())
    };
    let (done, went_on): (_, anyhow::Result<()>) = tokio::join!(working, going_on);
    went_on?;
    done
}

/// One event, and how long it took in milliseconds.
async fn decided(server: &Server) -> anyhow::Result<f64> {
    let began = Instant::now();
    let id = format!("quiet-{:016x}", rand::random::<u64>());
    let run_id = server
        .deliver(INTEGRATION, &format!("{NAME}.event"), &id)
        .await?;
    let run = server.finished(&run_id).await?;
    anyhow::ensure!(
        at(&run, "/state") == "completed",
        "a neighbour's run ended as {run}"
    );
    Ok(began.elapsed().as_secs_f64() * 1_000.0)
}
