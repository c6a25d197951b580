//! What a guest writes to its standard output and error, as lines of its log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::Log;

/// The longest line in bytes; what is longer becomes several lines.
const LINE_BYTES_MAX: usize = 4 << 10;

/// One output stream. Clones write into the same stream.
#[derive(Clone, Debug)]
pub struct Output(Arc<Mutex<Stream>>);

#[derive(Debug)]
struct Stream {
    name: &'static str,
    level: &'static str,
    log: Log,
    /// The line that has not ended yet.
    begun: Vec<u8>,
}

impl Output {
    /// A stream of this name, whose lines have this level in the log.
    pub fn new(name: &'static str, level: &'static str, log: Log) -> Self {
        Self(Arc::new(Mutex::new(Stream {
            name,
            level,
            log,
            begun: Vec::new(),
        })))
    }

    /// Adds bytes; each line that they end goes to the log.
    pub fn write(&self, bytes: &[u8]) {
        let mut stream = self.stream();
        for part in bytes.split_inclusive(|it| *it == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    stream.extend(end);
                    stream.end_line();
                }
                None => stream.extend(part),
            }
        }
    }

    /// Ends the line that was begun, if there is one. To be called when the guest is over.
    pub fn end(&self) {
        let mut stream = self.stream();
        if !stream.begun.is_empty() {
            stream.end_line();
        }
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        // A line that somebody panicked in is still a line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn extend(&mut self, mut bytes: &[u8]) {
        while LINE_BYTES_MAX < self.begun.len() + bytes.len() {
            let (now, later) = bytes.split_at(LINE_BYTES_MAX - self.begun.len());
            self.begun.extend_from_slice(now);
            let rest = self.begun.split_off(end_of_text(&self.begun));
            self.end_line();
            self.begun = rest;
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let line = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
        let text = String::from_utf8_lossy(line).into_owned();
        let stream = ("stream".to_owned(), self.name.to_owned());
        self.log.write(self.level, text, vec![stream]);
        self.begun.clear();
    }
}

/// Where the last whole character of these bytes ends; their end, where they are no text.
fn end_of_text(bytes: &[u8]) -> usize {
    match str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && 0 < error.valid_up_to() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(parts: &[&[u8]]) -> Vec<String> {
        let log = Log::new(64 << 10);
        let output = Output::new("stdout", "info", log.clone());
        for part in parts {
            output.write(part);
        }
        output.end();
        let lines = log.take_lines().into_iter();
        lines.map(|it| it.message).collect()
    }

    #[test]
    fn a_line_ends_where_the_guest_ends_it() {
        assert_eq!(
            messages(&[b"one\ntw", b"o\r\n\nthr", b"ee"]),
            ["one", "two", "", "three"]
        );
    }

    #[test]
    fn a_line_without_an_end_becomes_several_and_no_character_is_cut() {
        let text = "é".repeat(LINE_BYTES_MAX);
        let messages = messages(&[b"x", text.as_bytes()]);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|it| it.len() <= LINE_BYTES_MAX));
        assert_eq!(messages.concat(), format!("x{text}"));
    }

    #[test]
    fn what_is_no_text_is_kept_as_far_as_it_is() {
        assert_eq!(messages(&[b"a\xffb\x1b[31m\n"]), ["a\u{fffd}b\u{fffd}[31m"]);
        assert_eq!(messages(&[&[0xff; 2 * LINE_BYTES_MAX]]).len(), 2);
    }

    #[test]
    fn lines_of_both_streams_stand_in_the_order_of_writing() {
        let log = Log::new(1_000);
        let (out, err) = (
            Output::new("stdout", "info", log.clone()),
            Output::new("stderr", "warn", log.clone()),
        );
        out.write(b"1\n");
        log.write("info", "2".to_owned(), Vec::new());
        err.write(b"3\n");
        let lines = log.take_lines();
        let told: Vec<&str> = lines.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(told, ["1", "2", "3"]);
        assert_eq!(lines[2].level, "warn");
        assert_eq!(
            lines[2].fields,
            [("stream".to_owned(), "stderr".to_owned())]
        );
    }
}
