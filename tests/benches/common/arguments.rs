//! How long and how hard a bench measures.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Connections that the benches of HTTP are compared at.
pub const CONNECTIONS: usize = 64;

/// What was asked for on the command line.
pub struct Arguments {
    pub quick: bool,
    pub connections: Vec<usize>,
    pub round: Duration,
    pub rounds: usize,
    /// Events in a large store; a bench's own number where not given.
    pub events: Option<u64>,
}

impl Arguments {
    /// Reads the command line; `None` where this is not `cargo bench`, which passes `--bench`.
    ///
    /// `cargo test --all-targets` runs benches too, and must not take minutes.
    pub fn read() -> Result<Option<Self>> {
        let (mut quick, mut is_bench) = (false, false);
        let (mut connections, mut seconds, mut rounds, mut events) = (None, None, None, None);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--bench" => is_bench = true,
                "--quick" => quick = true,
                "--connections" => connections = Some(list(&value()?)?),
                "--seconds" => seconds = Some(value()?.parse::<f64>()?),
                "--events" => events = Some(value()?.parse()?),
                "--rounds" => rounds = Some(value()?.parse()?),
                _ => bail!(
                    "unknown argument `{word}`: expected --quick, --connections 1,64, --seconds 10, --rounds 3 or --events 5000000"
                ),
            }
        }
        let seconds = seconds.unwrap_or(if quick { 2.0 } else { 10.0 });
        Ok(is_bench.then(|| Self {
            quick,
            connections: connections.unwrap_or_else(|| vec![1, 16, CONNECTIONS, 256]),
            round: Duration::from_secs_f64(seconds),
            rounds: rounds.unwrap_or(if quick { 1 } else { 3 }),
            events,
        }))
    }

    /// Load before the measurement, so that caches and pools are filled.
    pub fn warm_up(&self) -> Duration {
        self.round / 10
    }
}

fn list(text: &str) -> Result<Vec<usize>> {
    let numbers: Vec<usize> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    if numbers.is_empty() || numbers.iter().any(|it| !(1..=4096).contains(it)) {
        bail!("--connections: expected numbers from 1 to 4096, as `1,16,64`");
    }
    Ok(numbers)
}
