//! What came of it all, as a table and as JSON.

use serde::Serialize;
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::neighbour::Latency;
use super::probe::Probed;

/// The most that the server's memory may have grown by, in bytes: what it keeps for the next guests.
const GROWN_BYTES_MAX: u64 = 128 << 20;
/// The most that the neighbour's slowest decisions may take longer, as a factor ...
const NEIGHBOUR_FACTOR_MAX: f64 = 25.0;
/// ... unless they are quicker than this, in milliseconds: a machine that does other things as well is
/// sometimes that slow.
const NEIGHBOUR_MS_OK: f64 = 1_000.0;

/// What came of it all.
#[derive(Serialize)]
pub(super) struct Report {
    pub contained: usize,
    pub of: usize,
    pub cases: Vec<CaseReport>,
    pub memory: Memory,
    pub neighbour: Neighbour,
    pub seconds: f64,
}

#[derive(Serialize)]
pub(super) struct CaseReport {
    pub number: u8,
    pub name: &'static str,
    /// What contains it.
    pub held_by: &'static str,
    pub contained: bool,
    /// Whether the server lives and answers after it.
    pub alive: bool,
    pub ms: u64,
    /// The server's memory after it, where the system tells it.
    pub memory_bytes: Option<u64>,
    /// How long each of the neighbour's events took that came meanwhile.
    pub neighbour_ms: Vec<f64>,
    pub probes: Vec<Probed>,
}

/// The server's memory in bytes, where the system tells it.
#[derive(Serialize)]
pub(super) struct Memory {
    before_bytes: Option<u64>,
    after_bytes: Option<u64>,
    grown_bytes_max: u64,
    pub kept: bool,
}

/// How long another tenant's events took until they were decided.
#[derive(Serialize)]
pub(super) struct Neighbour {
    alone: Latency,
    beside: Latency,
    p99_factor: f64,
    factor_max: f64,
    p99_ms_ok: f64,
    kept: bool,
}

impl Report {
    /// What went wrong, if anything.
    pub(super) fn verdict(&self) -> Option<String> {
        let mut problems = Vec::new();
        if self.contained < self.of {
            let others = self.cases.iter().filter(|it| !it.contained);
            let others: Vec<String> = others.map(|it| it.number.to_string()).collect();
            let others = others.join(", ");
            problems.push(format!("not contained: {others}"));
        }
        if !self.memory.kept {
            problems.push("memory was not given back".to_owned());
        }
        if !self.neighbour.kept {
            problems.push("the neighbour was held up".to_owned());
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

impl Memory {
    pub(super) fn new(before_bytes: Option<u64>, after_bytes: Option<u64>) -> Self {
        let grown = before_bytes
            .zip(after_bytes)
            .map(|(before, after)| after.saturating_sub(before));
        Self {
            before_bytes,
            after_bytes,
            grown_bytes_max: GROWN_BYTES_MAX,
            kept: grown.is_none_or(|it| it <= GROWN_BYTES_MAX),
        }
    }
}

impl Neighbour {
    pub(super) fn new(alone: Latency, cases: &[CaseReport]) -> Self {
        let beside = cases.iter().flat_map(|it| it.neighbour_ms.iter().copied());
        let beside = Latency::of(beside.collect());
        let p99_factor = beside.p99_ms / alone.p99_ms;
        Self {
            kept: p99_factor <= NEIGHBOUR_FACTOR_MAX || beside.p99_ms <= NEIGHBOUR_MS_OK,
            alone,
            beside,
            p99_factor,
            factor_max: NEIGHBOUR_FACTOR_MAX,
            p99_ms_ok: NEIGHBOUR_MS_OK,
        }
    }
}

pub(super) fn show(report: &Report, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!(report));
    }
    let head = ["no", "case", "expected", "seen", "ms", "neighbour ms"];
    output.table(head, report.cases.iter().map(row).collect())?;
    for case in report.cases.iter().filter(|it| !it.contained) {
        for probed in case.probes.iter().filter(|it| !it.contained) {
            let line = format!("{} {}:", case.number, probed.name);
            let said = format!("{}: {}", probed.seen, probed.detail);
            output.field(&line, Some(said))?;
        }
        if !case.alive {
            output.line(&format!("{}: the server ended", case.number))?;
        }
    }
    show_sums(report, output)
}

fn row(case: &CaseReport) -> [String; 6] {
    let words = |word: fn(&Probed) -> &str| {
        let mut words: Vec<&str> = case.probes.iter().map(word).collect();
        words.sort_unstable();
        words.dedup();
        words.join(", ")
    };
    let slowest = case.neighbour_ms.iter().copied().reduce(f64::max);
    [
        case.number.to_string(),
        case.name.to_owned(),
        words(|it| it.expected),
        match case.contained {
            true => "as expected".to_owned(),
            false => format!("NO: {}", words(|it| &it.seen)),
        },
        case.ms.to_string(),
        slowest.map_or_else(String::new, |it| format!("{it:.0}")),
    ]
}

fn show_sums(report: &Report, output: &mut Output<'_>) -> Result<(), Failure> {
    let (memory, neighbour) = (&report.memory, &report.neighbour);
    output.line(&format!(
        "\n{} of {} contained, in {:.0} s",
        report.contained, report.of, report.seconds
    ))?;
    if let (Some(before), Some(after)) = (memory.before_bytes, memory.after_bytes) {
        output.line(&format!(
            "memory: {} MiB before, {} MiB after; may grow by {} MiB: {}",
            before >> 20,
            after >> 20,
            memory.grown_bytes_max >> 20,
            kept(memory.kept)
        ))?;
    }
    output.line(&format!(
        "a neighbour's p99: {:.1} ms alone, {:.1} ms beside them, factor {:.1}; may be {} times or {} ms: {}",
        neighbour.alone.p99_ms,
        neighbour.beside.p99_ms,
        neighbour.p99_factor,
        neighbour.factor_max,
        neighbour.p99_ms_ok,
        kept(neighbour.kept)
    ))
}

fn kept(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "NOT kept" }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn case(number: u8, seen: &str, neighbour_ms: &[f64]) -> CaseReport {
        let contained = seen == "cpu_limit";
        CaseReport {
            number,
            name: "endless loop",
            held_by: "CPU time",
            contained,
            alive: true,
            ms: 120,
            memory_bytes: None,
            neighbour_ms: neighbour_ms.to_vec(),
            probes: vec![Probed {
                name: "loop",
                expected: "cpu_limit",
                seen: seen.to_owned(),
                contained,
                detail: "it went on\u{1b}[2J".to_owned(),
            }],
        }
    }

    fn report(cases: Vec<CaseReport>, after_bytes: u64) -> Report {
        Report {
            contained: cases.iter().filter(|it| it.contained).count(),
            of: cases.len(),
            memory: Memory::new(Some(100 << 20), Some(after_bytes)),
            neighbour: Neighbour::new(Latency::of(vec![10.0]), &cases),
            cases,
            seconds: 12.3,
        }
    }

    fn table(report: &Report) -> String {
        let mut out = Vec::new();
        show(report, &mut Output::new(&mut out, false, 0)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_contained_is_a_row_each() {
        let report = report(
            vec![
                case(1, "cpu_limit", &[11.0, 12.4]),
                case(2, "cpu_limit", &[]),
            ],
            120 << 20,
        );
        assert_eq!(report.verdict(), None);
        assert_snapshot!(table(&report), @"
        no  case          expected   seen         ms   neighbour ms
        1   endless loop  cpu_limit  as expected  120  12
        2   endless loop  cpu_limit  as expected  120

        2 of 2 contained, in 12 s
        memory: 100 MiB before, 120 MiB after; may grow by 128 MiB: kept
        a neighbour's p99: 10.0 ms alone, 12.4 ms beside them, factor 1.2; may be 25 times or 1000 ms: kept
        ");
    }

    #[test]
    fn what_is_not_contained_is_told() {
        let report = report(
            vec![case(1, "cpu_limit", &[5_000.0]), case(2, "decided", &[])],
            900 << 20,
        );
        assert_snapshot!(report.verdict().unwrap(), @"not contained: 2; memory was not given back; the neighbour was held up");
        assert_snapshot!(table(&report), @"
        no  case          expected   seen         ms   neighbour ms
        1   endless loop  cpu_limit  as expected  120  5000
        2   endless loop  cpu_limit  NO: decided  120
        2 loop:          decided: it went on�[2J

        1 of 2 contained, in 12 s
        memory: 100 MiB before, 900 MiB after; may grow by 128 MiB: NOT kept
        a neighbour's p99: 10.0 ms alone, 5000.0 ms beside them, factor 500.0; may be 25 times or 1000 ms: NOT kept
        ");
    }

    #[test]
    fn memory_is_kept_up_to_its_limit_or_where_the_system_does_not_tell_it() {
        assert!(Memory::new(Some(100 << 20), Some(228 << 20)).kept);
        assert!(!Memory::new(Some(100 << 20), Some(229 << 20)).kept);
        assert!(Memory::new(Some(100 << 20), Some(50 << 20)).kept);
        assert!(Memory::new(None, None).kept);
    }

    #[test]
    fn a_neighbour_is_held_up_where_both_factor_and_time_are_passed() {
        let is_kept = |alone_ms: f64, beside_ms: f64| {
            let cases = [case(1, "cpu_limit", &[beside_ms; 3])];
            Neighbour::new(Latency::of(vec![alone_ms]), &cases).kept
        };
        assert!(is_kept(10.0, 990.0), "99 times as long, but quick enough");
        assert!(is_kept(100.0, 2_000.0), "slow, but 20 times as long only");
        assert!(!is_kept(10.0, 1_001.0));
    }
}
