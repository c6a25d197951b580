//! A load generator: one thread, keep-alive connections, hand-written HTTP/1.1.
//!
//! It shares the machine with what it measures, so it does little: two system calls
//! for a request, no allocation, no header but what the sender would send. Anything
//! but a 200 that passes the check ends the run.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use triage_host::clock::Clock;
use triage_host::model::time::TimestampMs;

use super::statistics::Latencies;

/// Longer silence is a fault of the server.
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for an answer.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// Says whether an answer's body is what a run may count.
pub type Check = fn(&[u8]) -> bool;

/// Makes requests without end.
pub trait Sender {
    /// Writes the next request over what is in `out`, and gives its number.
    fn next(&mut self, out: &mut Vec<u8>) -> u64;

    /// Whether this answer's body, which passed the [`Check`], is right for the request of this number.
    fn expects(&self, _number: u64, _body: &[u8]) -> bool {
        true
    }
}

/// What one stretch of load gave.
pub struct Answered {
    pub count: u64,
    pub seconds: f64,
    pub latencies: Latencies,
}

/// One request of a paced stretch.
pub struct Sent {
    pub number: u64,
    pub at: TimestampMs,
}

impl Answered {
    fn new(micros: Vec<u32>, time: Duration) -> Self {
        Self {
            count: micros.len() as u64,
            seconds: time.as_secs_f64(),
            latencies: Latencies::new(micros),
        }
    }

    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Open connections to one server.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    check: Check,
}

struct Connection {
    stream: TcpStream,
    number: u64,
    request: Vec<u8>,
    written: usize,
    answer: Box<[u8; ANSWER_BYTES_MAX]>,
    read: usize,
    sent_at: Instant,
    waiting: bool,
}

impl Load {
    pub fn connect(address: SocketAddr, connections: usize, check: Check) -> Result<Self> {
        let poll = Poll::new()?;
        let mut load = Self {
            poll,
            events: Events::with_capacity(connections),
            connections: Vec::new(),
            check,
        };
        for number in 0..connections {
            let stream = std::net::TcpStream::connect(address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            load.poll
                .registry()
                .register(&mut stream, Token(number), interest)?;
            load.connections.push(Connection {
                stream,
                number: 0,
                request: Vec::new(),
                written: 0,
                answer: Box::new([0; ANSWER_BYTES_MAX]),
                read: 0,
                sent_at: Instant::now(),
                waiting: false,
            });
        }
        Ok(load)
    }

    /// Keeps every connection busy for this long, then waits for what is under way.
    pub fn saturate(&mut self, sender: &mut impl Sender, time: Duration) -> Result<Answered> {
        let deadline = Instant::now() + time;
        self.send_while(sender, |_| Instant::now() < deadline)
    }

    /// Keeps every connection busy until so many requests are answered.
    pub fn send(&mut self, sender: &mut impl Sender, count: u64) -> Result<Answered> {
        self.send_while(sender, |sent| sent < count)
    }

    fn send_while(
        &mut self,
        sender: &mut impl Sender,
        goes_on: impl Fn(u64) -> bool,
    ) -> Result<Answered> {
        let start = Instant::now();
        let mut micros = Vec::with_capacity(1 << 20);
        let mut sent = 0;
        for connection in &mut self.connections {
            if goes_on(sent) {
                connection.send(sender)?;
                sent += 1;
            }
        }
        while (micros.len() as u64) < sent {
            self.wait_for_answers()?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                let Some(latency) = connection.advance(self.check, sender)? else {
                    continue;
                };
                micros.push(latency);
                if goes_on(sent) {
                    connection.send(sender)?;
                    sent += 1;
                }
            }
        }
        Ok(Answered::new(micros, start.elapsed()))
    }

    /// Sends at a fixed rate for this long, then waits for what is under way.
    ///
    /// A request that must wait for a connection counts from when it was due.
    pub fn pace(
        &mut self,
        sender: &mut impl Sender,
        per_second: f64,
        time: Duration,
    ) -> Result<(Answered, Vec<Sent>)> {
        let start = Instant::now();
        // In turns: the host closes a connection that nothing comes over.
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let (mut sent, mut micros) = (Vec::new(), Vec::new());
        let mut waited = false;
        loop {
            let due = start + Duration::from_secs_f64(sent.len() as f64 / per_second);
            let is_over = time <= due - start;
            if is_over && idle.len() == self.connections.len() {
                break;
            }
            let now = Instant::now();
            let late = now.saturating_duration_since(due);
            ensure!(is_over || late < PATIENCE, "too slow for {per_second}/s");
            if is_over || (due <= now && idle.is_empty()) {
                waited = true;
                self.wait_for_answers()?;
            } else if due <= now {
                let Some(free) = idle.pop_front() else {
                    continue;
                };
                let connection = &mut self.connections[free];
                connection.send(sender)?;
                let mut at = Clock::System.now();
                if waited {
                    connection.sent_at = due;
                    at -= i64::try_from(late.as_millis())?;
                }
                let number = connection.number;
                sent.push(Sent { number, at });
                continue;
            } else {
                waited = false;
                self.wait(due - now)?;
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if let Some(latency) = connection.advance(self.check, sender)? {
                    micros.push(latency);
                    idle.push_back(event.token().0);
                }
            }
        }
        Ok((Answered::new(micros, start.elapsed()), sent))
    }

    fn wait_for_answers(&mut self) -> Result<()> {
        self.wait(PATIENCE)?;
        ensure!(!self.events.is_empty(), "no answer for {PATIENCE:?}");
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            waited => Ok(waited?),
        }
    }
}

impl Connection {
    fn send(&mut self, sender: &mut impl Sender) -> Result<()> {
        self.number = sender.next(&mut self.request);
        (self.written, self.read, self.waiting) = (0, 0, true);
        self.sent_at = Instant::now();
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot send a request"),
            }
        }
        Ok(())
    }

    /// Goes on after an event; gives the microseconds that the answer took, once it is complete.
    fn advance(&mut self, check: Check, sender: &impl Sender) -> Result<Option<u32>> {
        if !self.waiting {
            return Ok(None);
        }
        self.write()?;
        match self.stream.read(&mut self.answer[self.read..]) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(read) => self.read += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("cannot read an answer"),
        }
        let answer = &self.answer[..self.read];
        let Some(body) = body(answer)? else {
            return Ok(None);
        };
        let is_right = answer.starts_with(b"HTTP/1.1 200 ") && check(body);
        if !is_right || !sender.expects(self.number, body) {
            bail!(
                "not an answer that counts:\n{}",
                String::from_utf8_lossy(answer)
            );
        }
        self.waiting = false;
        Ok(Some(u32::try_from(self.sent_at.elapsed().as_micros())?))
    }
}

/// The body of an answer that is complete.
fn body(answer: &[u8]) -> Result<Option<&[u8]>> {
    let Some(head_length) = answer.windows(4).position(|it| it == b"\r\n\r\n") else {
        ensure!(
            answer.len() < ANSWER_BYTES_MAX,
            "an answer without an end of its head"
        );
        return Ok(None);
    };
    let (head, body) = answer.split_at(head_length + 4);
    let length = head
        .split(|it| *it == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked("content-length:".len())?;
            let digits = name
                .eq_ignore_ascii_case(b"content-length:")
                .then(|| value.trim_ascii())?;
            std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
        })
        .context("an answer without content-length")?;
    ensure!(body.len() <= length, "more than one answer to one request");
    Ok((body.len() == length).then_some(body))
}
