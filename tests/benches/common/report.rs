//! Figures: a table for people, one JSON line each for tools.

use serde_json::json;

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => least <= value,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// One measured number.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bounds: Option<(Bound, Bound)>,
}

impl Figure {
    fn verdict(&self) -> &'static str {
        match self.bounds {
            None => "",
            Some((_, aim)) if aim.holds(self.value) => "aim reached",
            Some((must, _)) if must.holds(self.value) => "must reached",
            Some(_) => "MISSED",
        }
    }
}

/// All that a bench found out.
pub struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
    limits: Vec<(String, String)>,
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            figures: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// A number to know.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
            bounds: None,
        });
    }

    /// A number with a target.
    pub fn judge(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        must: Bound,
        aim: Bound,
    ) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
            bounds: Some((must, aim)),
        });
    }

    /// What holds something back.
    pub fn limit(&mut self, what: impl Into<String>, by: impl Into<String>) {
        self.limits.push((what.into(), by.into()));
    }

    pub fn print(&self) {
        println!(
            "\n{:<58} {:>12} {:<10} {:>8} {:>8}",
            self.bench, "value", "", "must", "aim"
        );
        for figure in &self.figures {
            let bounds = figure
                .bounds
                .map(|(must, aim)| (must.to_string(), aim.to_string()));
            let (must, aim) = bounds.unwrap_or_default();
            let line = format!(
                "{:<58} {:>12} {:<10} {must:>8} {aim:>8}  {}",
                figure.name,
                rounded(figure.value),
                figure.unit,
                figure.verdict(),
            );
            println!("{}", line.trim_end());
        }
        for (what, by) in &self.limits {
            println!("{what}: {by}");
        }
        println!();
        for figure in &self.figures {
            let bounds = figure
                .bounds
                .map(|(must, aim)| (must.to_string(), aim.to_string()));
            println!(
                "{}",
                json!({
                    "bench": self.bench,
                    "figure": figure.name,
                    // A number that could not be measured is `null`.
                    "value": figure.value,
                    "unit": figure.unit,
                    "must": bounds.as_ref().map(|it| &it.0),
                    "aim": bounds.as_ref().map(|it| &it.1),
                    "verdict": figure.verdict(),
                })
            );
        }
        for (what, by) in &self.limits {
            println!(
                "{}",
                json!({ "bench": self.bench, "limit": what, "by": by })
            );
        }
    }
}

/// About three digits that matter.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if 100.0 <= size => format!("{value:.0}"),
        size if 10.0 <= size => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
