//! Lines that a plugin writes, bounded.

use crate::model::run::LogLine;

/// What a line costs besides its text, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: u64 = 16;

/// The lines of one stage.
#[derive(Debug)]
pub struct Log {
    lines: Vec<LogLine>,
    bytes_left: u64,
    dropped: u64,
}

impl Log {
    /// A log that keeps this many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            lines: Vec::new(),
            bytes_left: bytes_max,
            dropped: 0,
        }
    }

    /// Keeps a line while there is room; counts it where there is none.
    pub fn write(&mut self, level: &str, message: String, fields: Vec<(String, String)>) {
        let text = message.len()
            + fields
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        let cost = LINE_OVERHEAD_BYTES + text as u64;
        match self.bytes_left.checked_sub(cost) {
            Some(left) if self.dropped == 0 => {
                self.bytes_left = left;
                self.lines.push(LogLine {
                    level: level.to_owned(),
                    message,
                    fields,
                });
            }
            _ => self.dropped += 1,
        }
    }

    /// The lines, with one that says how many are missing, if any.
    pub fn into_lines(mut self) -> Vec<LogLine> {
        if 0 < self.dropped {
            self.lines.push(LogLine {
                level: "warn".to_owned(),
                message: format!(
                    "{} further lines dropped: over the policy's log_bytes",
                    self.dropped
                ),
                fields: Vec::new(),
            });
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut log = Log::new(100);
        for number in 0..1000 {
            log.write("info", format!("line {number:04}"), Vec::new());
        }
        let lines = log.into_lines();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[4].message,
            "996 further lines dropped: over the policy's log_bytes"
        );
    }

    #[test]
    fn after_a_dropped_line_no_later_one_pretends_to_follow() {
        let mut log = Log::new(60);
        log.write("info", "x".repeat(50), Vec::new());
        log.write("info", "short".to_owned(), Vec::new());
        assert_eq!(log.into_lines().len(), 1);
    }
}
