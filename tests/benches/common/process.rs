//! What processes cost, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// Ticks of a second in `/proc`: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// A share of all cores. The kernel's own work for the disk takes a part of it.
const DISTURBING: f64 = 0.1;

/// The costs of a process and of the machine at one moment.
pub struct Snapshot {
    at: Instant,
    process_ticks: u64,
    threads: BTreeMap<String, u64>,
    generator_ticks: u64,
    machine: Machine,
}

/// Time that all cores spent, in ticks.
struct Machine {
    interrupts: u64,
    /// With interrupts.
    busy: u64,
}

/// What a stretch of time cost.
pub struct Cost {
    /// Computing time of the process in seconds.
    pub cpu_seconds: f64,
    /// Largest resident memory so far in MiB.
    pub peak_mib: f64,
    /// Shares of one core, by the threads' names, largest first.
    pub threads: Vec<(String, f64)>,
    /// Shares of all cores: the process, this process, interrupts (which carry the network's
    /// packets also on one machine, and belong to no process), everything else.
    pub server: f64,
    pub generator: f64,
    pub interrupts: f64,
    pub others: f64,
}

impl Snapshot {
    pub fn take(pid: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            process_ticks: ticks(&format!("/proc/{pid}/stat"))?.1,
            threads: threads(pid)?,
            generator_ticks: ticks("/proc/self/stat")?.1,
            machine: machine()?,
        })
    }

    /// The cost since then.
    pub fn until_now(&self, pid: u32) -> Result<Cost> {
        let now = Self::take(pid)?;
        let core_ticks = (now.at - self.at).as_secs_f64() * TICKS_PER_SECOND;
        let all_ticks = core_ticks * cores();
        let process = (now.process_ticks - self.process_ticks) as f64;
        let generator = (now.generator_ticks - self.generator_ticks) as f64;
        let interrupts = now
            .machine
            .interrupts
            .saturating_sub(self.machine.interrupts) as f64;
        let busy = now.machine.busy.saturating_sub(self.machine.busy) as f64;
        let share = |(name, ticks): (&String, &u64)| {
            let before = self.threads.get(name).copied().unwrap_or(0);
            (
                name.clone(),
                ticks.saturating_sub(before) as f64 / core_ticks,
            )
        };
        let mut threads: Vec<_> = now.threads.iter().map(share).collect();
        threads.sort_by(|left, right| right.1.total_cmp(&left.1));
        Ok(Cost {
            cpu_seconds: process / TICKS_PER_SECOND,
            peak_mib: peak_mib(pid)?,
            threads,
            server: process / all_ticks,
            generator: generator / all_ticks,
            interrupts: interrupts / all_ticks,
            others: ((busy - process - generator - interrupts) / all_ticks).max(0.0),
        })
    }
}

impl Cost {
    /// Whether other processes took so much that figures of different moments do not compare.
    pub fn is_disturbed(&self) -> bool {
        DISTURBING < self.others
    }

    /// Who used the cores, in one line.
    pub fn shares(&self) -> String {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let idle = (1.0 - self.server - self.generator - self.interrupts - self.others).max(0.0);
        let threads = self
            .threads
            .iter()
            .take(4)
            .filter(|(_, share)| 0.005 < *share);
        let threads: Vec<_> = threads
            .map(|(name, share)| format!("{name} {}", percent(*share)))
            .collect();
        format!(
            "of {} cores: server {}, generator {}, interrupts {}, other work {}, idle {}; \
             threads, of one core: {}",
            cores(),
            percent(self.server),
            percent(self.generator),
            percent(self.interrupts),
            percent(self.others),
            percent(idle),
            threads.join(", "),
        )
    }
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |it| it.get() as f64)
}

/// Name and computing time from a `stat` file.
fn ticks(path: &str) -> Result<(String, u64)> {
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let (start, rest) = stat.rsplit_once(')').context("a malformed stat file")?;
    let name = start.split_once('(').map_or("", |it| it.1).to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // `utime` and `stime`, fields 14 and 15 of proc_pid_stat(5); the third is the first here.
    let ticks = fields.get(11..13).context("a malformed stat file")?;
    Ok((
        name,
        ticks.iter().filter_map(|it| it.parse::<u64>().ok()).sum(),
    ))
}

/// Computing time by thread name.
fn threads(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may be gone by now.
        if let Ok((name, spent)) = ticks(&task?.path().join("stat").to_string_lossy()) {
            *threads.entry(name).or_default() += spent;
        }
    }
    Ok(threads)
}

fn machine() -> Result<Machine> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|it| it.parse().ok())
        .collect();
    // proc_stat(5). Guest time is in user time already.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields.as_slice() else {
        bail!("a malformed /proc/stat");
    };
    let interrupts = irq + softirq;
    Ok(Machine {
        interrupts,
        busy: user + nice + system + interrupts + steal,
    })
}

/// Resident memory of a process now, in MiB.
pub fn resident_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS:")
}

fn peak_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|it| it.strip_prefix(name))
        .with_context(|| format!("no {name}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Computing time of this thread.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
