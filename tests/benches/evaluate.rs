//! One event's judgement: through the host, with bare wasmtime, and without a sandbox.
//!
//! All three ask the incident desk the same: classify, then triage. The two sandboxed
//! ones make a fresh instance for each of the two calls. They take turns in short batches
//! on the same thread, so that what disturbs one disturbs the others.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

#[path = "common/bare.rs"]
mod bare;
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use incident_desk::IncidentDesk;
use triage_host::model::policy::Limits;
use triage_host::sandbox::{Plugin, Sandbox};
use triage_plugin::Policy;
use triage_plugin::testing::TestHost;
use triage_tests::binary;

use bare::Bare;
use common::arguments::Arguments;
use common::judge::{self, Judge};
use common::process::cpu_time;
use common::report::{Bound, Report};
use common::statistics::median;

/// Sizes of bodies, in bytes. The targets are about the first.
const BODIES: [usize; 2] = [2_048, 20_480];
/// How long one batch of one way takes.
const BATCH: Duration = Duration::from_millis(20);
/// Threads of the second part.
const THREADS: usize = 2;

/// The ways to judge an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Native,
    Bare,
    BareOneInstance,
    Host,
}

impl Way {
    const ALL: [Self; 4] = [Self::Native, Self::Bare, Self::BareOneInstance, Self::Host];

    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Bare => "bare wasmtime",
            Self::BareOneInstance => "bare wasmtime, one instance for both calls",
            Self::Host => "host",
        }
    }
}

/// Everything that one thread needs.
struct Bench {
    judge: Judge,
    plugin: Arc<Plugin>,
    bare: Arc<Bare>,
    event: triage_plugin::Event,
}

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let component = std::fs::read(binary::component("incident-desk"))?;
    let sandbox = judge::sandbox(None)?;
    let plugin = judge::load(&sandbox, &binary::component("incident-desk"))?;
    let bare = Arc::new(Bare::new(&component).map_err(unlike)?);
    let mut report = Report::new("evaluate");
    for body_bytes in BODIES {
        let make = || Bench::new(sandbox.clone(), plugin.clone(), bare.clone(), body_bytes);
        let bench = make()?;
        bench.check_answers()?;
        let micros = take_turns(&bench, arguments.round * u32::try_from(arguments.rounds)?);
        one_thread(&mut report, body_bytes, &micros);
        for way in [Way::Bare, Way::Host] {
            let benches = [make()?, make()?];
            let per_second = together(benches, way, arguments.round / 2);
            report.add(
                format!("{body_bytes} B, {THREADS} threads, {}", way.name()),
                per_second,
                "events/s",
            );
        }
    }
    report.print();
    Ok(())
}

/// wasmtime's errors are of a type of their own.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` wants it")]
fn unlike(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// The median computing time of an event for each way, in microseconds.
///
/// Computing time and not wall time: other processes do not count. Nothing here waits.
fn take_turns(bench: &Bench, time: Duration) -> [f64; 4] {
    let mut batches: [Vec<f64>; 4] = Default::default();
    let start = Instant::now();
    while start.elapsed() < time || batches[0].len() < 10 {
        for (way, batches) in Way::ALL.into_iter().zip(&mut batches) {
            let (began, mut events) = (cpu_time(), 0);
            while cpu_time() - began < BATCH {
                // Asking for the time is a system call.
                for _ in 0..16 {
                    bench.judge(way);
                }
                events += 16;
            }
            batches.push((cpu_time() - began).as_secs_f64() * 1e6 / f64::from(events));
        }
    }
    // The first turn fills caches.
    batches.map(|it| median(it.into_iter().skip(1)))
}

fn one_thread(report: &mut Report, body_bytes: usize, micros: &[f64; 4]) {
    let [native, bare, _, host] = *micros;
    for (way, micros) in Way::ALL.into_iter().zip(micros) {
        report.add(
            format!("{body_bytes} B, {}", way.name()),
            *micros,
            "µs/event",
        );
    }
    // The targets are about an event, which is two calls.
    report.add(
        format!("{body_bytes} B, host, each call"),
        host / 2.0,
        "µs/call",
    );
    let (against_bare, over_native) = (host / bare, host - native);
    if body_bytes == BODIES[0] {
        let name = format!("{body_bytes} B, host against bare wasmtime");
        report.judge(
            name,
            against_bare,
            "× bare",
            Bound::AtMost(1.5),
            Bound::AtMost(1.2),
        );
        let name = format!("{body_bytes} B, host over native");
        report.judge(
            name,
            over_native,
            "µs/event",
            Bound::AtMost(40.0),
            Bound::AtMost(20.0),
        );
    } else {
        report.add(
            format!("{body_bytes} B, host against bare wasmtime"),
            against_bare,
            "× bare",
        );
        report.add(
            format!("{body_bytes} B, host over native"),
            over_native,
            "µs/event",
        );
    }
    report.limit(
        format!("{body_bytes} B, of the host's {host:.1} µs"),
        format!(
            "{native:.1} are the plugin's own work, {:.1} instances, copies and slower code, {:.1} the host around wasmtime",
            bare - native,
            host - bare,
        ),
    );
}

/// Events per second of all threads together.
fn together(benches: [Bench; THREADS], way: Way, time: Duration) -> f64 {
    let counts = std::thread::scope(|scope| {
        let threads = benches.map(|bench| {
            scope.spawn(move || {
                let (start, mut events) = (Instant::now(), 0_u64);
                while start.elapsed() < time {
                    bench.judge(way);
                    events += 1;
                }
                events as f64 / start.elapsed().as_secs_f64()
            })
        });
        threads.map(|it| it.join().unwrap())
    });
    counts.iter().sum()
}

impl Bench {
    fn new(
        sandbox: Sandbox,
        plugin: Arc<Plugin>,
        bare: Arc<Bare>,
        body_bytes: usize,
    ) -> Result<Self> {
        let judge = Judge::new(sandbox, body_bytes, Limits::default())?;
        let event = triage_plugin::Event {
            headers: judge.run.event.headers.0.clone(),
            body: judge.run.event.body.to_vec(),
            ..triage_plugin::testing::event("sentry.issue.created", &serde_json::Value::Null)
        };
        Ok(Self {
            judge,
            plugin,
            bare,
            event,
        })
    }

    /// Judges the event once.
    fn judge(&self, way: Way) {
        match way {
            Way::Native => {
                black_box(self.native().unwrap());
            }
            Way::Bare => {
                black_box(self.bare.judge(&self.judge.run).unwrap());
            }
            Way::BareOneInstance => {
                black_box(self.bare.judge_in_one_instance(&self.judge.run).unwrap());
            }
            Way::Host => {
                black_box(self.judge.judge(&self.plugin).unwrap());
            }
        }
    }

    /// Makes sure that all ways come to the same plan, with a ticket in it.
    fn check_answers(&self) -> Result<()> {
        let native = self.native()?;
        let host = self.judge.judge(&self.plugin)?;
        let titles = [
            native,
            self.bare.judge(&self.judge.run).map_err(unlike)?,
            self.bare
                .judge_in_one_instance(&self.judge.run)
                .map_err(unlike)?,
            host,
        ];
        ensure!(
            titles.iter().all(|it| *it == titles[0]),
            "the ways differ: {titles:?}"
        );
        Ok(())
    }

    fn native(&self) -> Result<String> {
        thread_local! {
            static HOST: TestHost = TestHost::new();
        }
        let failed = |failure| anyhow::anyhow!("{failure:?}");
        let judge = || {
            let classification = IncidentDesk::classify(&self.event).map_err(failed)?;
            IncidentDesk::triage(&self.event, &classification).map_err(failed)
        };
        let plan = HOST.with(|host| host.run(judge))?;
        plan.actions.first().context("no action")?;
        Ok(plan.summary)
    }
}
