//! Lines that a plugin writes, bounded and harmless.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::run::LogLine;

/// What a line costs besides its text, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: u64 = 16;

/// The lines of one stage. Clones write into the same log: a guest can write to it in
/// several ways, and the lines stand in the order in which they were written.
#[derive(Clone, Debug)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    kept: Vec<LogLine>,
    bytes_left: u64,
    dropped: u64,
}

impl Log {
    /// A log that keeps this many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            kept: Vec::new(),
            bytes_left: bytes_max,
            dropped: 0,
        })))
    }

    /// Keeps a line while there is room; counts it where there is none.
    ///
    /// Control characters but for new lines and tabs are replaced: a line that is shown on
    /// a terminal cannot move its cursor or colour what follows.
    pub fn write(&self, level: &str, message: String, fields: Vec<(String, String)>) {
        let text = message.len()
            + fields
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        let cost = LINE_OVERHEAD_BYTES + text as u64;
        let mut lines = self.lines();
        match lines.bytes_left.checked_sub(cost) {
            Some(left) if lines.dropped == 0 => {
                lines.bytes_left = left;
                lines.kept.push(LogLine {
                    level: level.to_owned(),
                    message: harmless(message),
                    fields: fields
                        .into_iter()
                        .map(|(name, value)| (harmless(name), harmless(value)))
                        .collect(),
                });
            }
            _ => lines.dropped += 1,
        }
    }

    /// The lines so far, with one that says how many are missing, if any. Leaves none.
    pub fn take_lines(&self) -> Vec<LogLine> {
        let mut lines = self.lines();
        let mut kept = std::mem::take(&mut lines.kept);
        if 0 < lines.dropped {
            kept.push(LogLine {
                level: "warn".to_owned(),
                message: format!(
                    "{} further lines dropped: over the policy's log_bytes",
                    lines.dropped
                ),
                fields: Vec::new(),
            });
        }
        kept
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Whoever panicked while writing a line left the others whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn harmless(text: String) -> String {
    let harmful = |it: char| it.is_control() && it != '\n' && it != '\t';
    match text.contains(harmful) {
        true => text.replace(harmful, "\u{fffd}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = Log::new(100);
        for number in 0..1000 {
            log.write("info", format!("line {number:04}"), Vec::new());
        }
        let lines = log.take_lines();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[4].message,
            "996 further lines dropped: over the policy's log_bytes"
        );
    }

    #[test]
    fn after_a_dropped_line_no_later_one_pretends_to_follow() {
        let log = Log::new(60);
        log.write("info", "x".repeat(50), Vec::new());
        log.write("info", "short".to_owned(), Vec::new());
        assert_eq!(log.take_lines().len(), 1);
    }

    #[test]
    fn control_characters_are_replaced_wherever_they_stand() {
        let log = Log::new(1_000);
        log.write(
            "info",
            "\u{1b}[2Jgone\r\n\tnext".to_owned(),
            vec![("a\u{7}".to_owned(), "b\u{9b}31m".to_owned())],
        );
        let lines = log.take_lines();
        assert_eq!(lines[0].message, "\u{fffd}[2Jgone\u{fffd}\n\tnext");
        assert_eq!(
            lines[0].fields,
            [("a\u{fffd}".to_owned(), "b\u{fffd}31m".to_owned())]
        );
    }
}
