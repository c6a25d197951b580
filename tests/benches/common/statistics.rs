//! Medians and percentiles.

/// The middle value; the mean of the two middle ones where there are two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// Times in microseconds, sorted.
#[derive(Clone, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn new(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// Adds others to these.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
        self.0.sort_unstable();
    }

    /// The time in milliseconds within which this share of the requests was answered.
    pub fn within_ms(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        let micros = self
            .0
            .get(rank.saturating_sub(1).min(self.0.len().saturating_sub(1)));
        micros.map_or(f64::NAN, |it| f64::from(*it) / 1_000.0)
    }

    pub fn max_ms(&self) -> f64 {
        self.within_ms(1.0)
    }
}
