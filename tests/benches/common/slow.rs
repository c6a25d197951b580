//! Clients that hold a place each and send a byte now and then, as a slow-loris attack does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Time between two bytes of a client.
const BYTE_EVERY: Duration = Duration::from_millis(100);
/// The clients begin one after another over this time, so that their ends are spread as well.
const BEGIN_OVER: Duration = Duration::from_secs(10);
/// How long the first of them may live.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(60);
/// Longer than any client lives, and below what an integration takes.
const BODY_BYTES: usize = 100_000;

/// What came of the clients so far.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Connections that the server ended, in the middle of a head.
    pub heads: u64,
    /// The same in the middle of a body.
    pub bodies: u64,
    /// Bytes that were sent.
    pub bytes: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connected: AtomicU64,
    heads: AtomicU64,
    bodies: AtomicU64,
    bytes: AtomicU64,
}

/// Clients at work. They end when this is dropped.
pub struct SlowClients {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl SlowClients {
    /// Half of them are slow with the head, the others with the body. Whoever is cut off comes again.
    pub fn start(address: SocketAddr, path: &str, count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..count)
            .map(|number| Client::new(number, count, path))
            .collect();
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || trickle(address, clients, &shared))
        };
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Waits until all of them are connected, and some of both kinds were cut off.
    pub fn settle(&self, count: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            let counts = self.counts();
            let connected = self.shared.connected.load(Ordering::Relaxed);
            if count as u64 <= connected && 0 < counts.heads && 0 < counts.bodies {
                return Ok(());
            }
            ensure!(
                start.elapsed() < CUT_OFF_WITHIN,
                "{connected} slow clients connected, {} cut off in a head and {} in a body after {CUT_OFF_WITHIN:?}",
                counts.heads,
                counts.bodies
            );
            std::thread::sleep(BYTE_EVERY);
        }
    }

    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            heads: of(&self.shared.heads),
            bodies: of(&self.shared.bodies),
            bytes: of(&self.shared.bytes),
        }
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked said so.
            let _ = thread.join();
        }
    }
}

struct Client {
    begins_after: Duration,
    /// Sent at once.
    start: Vec<u8>,
    is_in_body: bool,
    came: bool,
    stream: Option<TcpStream>,
}

impl Client {
    fn new(number: usize, count: usize, path: &str) -> Self {
        let is_in_body = number % 2 == 1;
        let length = if is_in_body {
            format!("content-length: {BODY_BYTES}\r\n\r\n")
        } else {
            "x-slow: ".to_owned()
        };
        Self {
            begins_after: BEGIN_OVER.mul_f64(number as f64 / count as f64),
            start: format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}").into_bytes(),
            is_in_body,
            came: false,
            stream: None,
        }
    }

    /// Sends a byte. Gives `false` where the server ended the connection.
    fn send_a_byte(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let mut answer = [0; 1_024];
        let is_open = match stream.read(&mut answer) {
            // An answer in the middle of a request is its end as well.
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        is_open && stream.write_all(b" ").is_ok()
    }

    fn connect(&mut self, address: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.start)?;
        stream.set_nonblocking(true)?;
        self.stream = Some(stream);
        Ok(())
    }
}

fn trickle(address: SocketAddr, mut clients: Vec<Client>, shared: &Shared) {
    let start = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let round = Instant::now();
        // One after another, as clients that do not know each other: not all in the same millisecond.
        let pause = BYTE_EVERY.div_f64(clients.len() as f64);
        for (turn, client) in (1..).zip(&mut clients) {
            std::thread::sleep((pause * turn).saturating_sub(round.elapsed()));
            if start.elapsed() < client.begins_after {
                continue;
            }
            if client.stream.is_some() {
                if client.send_a_byte() {
                    shared.bytes.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                client.stream = None;
                let counter = if client.is_in_body {
                    &shared.bodies
                } else {
                    &shared.heads
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            // A server that takes no connection any more shows in what is measured beside this.
            if client.connect(address).is_ok() && !client.came {
                client.came = true;
                shared.connected.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
