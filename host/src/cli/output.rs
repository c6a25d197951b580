//! How results look: JSON for programs, aligned text for people.
//!
//! Called by every command. Senders and plugins chose much of the text, so none of it
//! reaches a terminal before [`clean`] took out what could move the cursor.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::model::time::TimestampMs;

/// The longest cell of a table in characters.
const CELL_CHARS_MAX: usize = 72;
/// The longest value in the details of one thing, in characters.
const VALUE_CHARS_MAX: usize = 4_000;

/// Where a command's result goes.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
    now: TimestampMs,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, json: bool, now: TimestampMs) -> Self {
        Self { out, json, now }
    }

    /// Whether a program reads the result.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// The bytes as they are, for what is neither text nor JSON.
    pub(super) fn raw(&mut self) -> &mut dyn Write {
        self.out
    }

    /// One value, for programs.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut *self.out, value).map_err(io::Error::from)?;
        writeln!(self.out)?;
        Ok(())
    }

    /// One line. The text must be clean already.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{}", text.trim_end())?;
        Ok(())
    }

    /// A name and its value; nothing where there is no value.
    pub(super) fn field(&mut self, name: &str, value: Option<String>) -> Result<(), Failure> {
        match value {
            None => Ok(()),
            Some(value) => self.line(&format!("{name:<16} {}", clean(&value, VALUE_CHARS_MAX))),
        }
    }

    /// Columns as wide as their longest cell.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: Vec<[String; N]>,
    ) -> Result<(), Failure> {
        if rows.is_empty() {
            return self.line("none");
        }
        let rows = rows
            .into_iter()
            .map(|row| row.map(|it| clean(&it, CELL_CHARS_MAX)));
        let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
            .chain(rows)
            .collect();
        let mut widths = [0; N];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            self.line(&cells.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }

    /// How long ago something was, in one unit.
    pub(super) fn ago(&self, at: TimestampMs) -> String {
        let seconds = self.now.saturating_sub(at) / 1_000;
        match seconds {
            ..0 => "just now".to_owned(),
            0..120 => format!("{seconds}s ago"),
            120..7_200 => format!("{}m ago", seconds / 60),
            7_200..172_800 => format!("{}h ago", seconds / 3_600),
            _ => format!("{}d ago", seconds / 86_400),
        }
    }
}

/// One line of bounded length that cannot move the cursor of a terminal.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let mut clean = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == chars_max {
            clean.push('…');
            break;
        }
        match char {
            '\n' | '\t' => clean.push(' '),
            // Marks that change the direction of writing can make one text look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => clean.push('\u{fffd}'),
            _ if char.is_control() => clean.push('\u{fffd}'),
            _ => clean.push(char),
        }
    }
    clean
}

/// Several clean lines: a text of a person or plugin, cut where it is long.
pub(super) fn clean_lines(text: &str, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .take(lines_max)
        .map(|it| clean(it, VALUE_CHARS_MAX))
        .collect();
    if lines_max < text.lines().count() {
        lines.push("…".to_owned());
    }
    lines
}

/// The end of a list that has more.
pub(super) fn more(output: &mut Output<'_>, next_cursor: Option<&str>) -> Result<(), Failure> {
    match next_cursor {
        None => Ok(()),
        Some(cursor) => output.line(&format!("\nmore: --cursor {cursor}")),
    }
}
