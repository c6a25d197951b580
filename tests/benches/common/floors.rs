//! Servers to compare with: each a process of its own, made from the bench's executable.
//!
//! They say what a part of the host's work costs by itself. None of them knows a repeat
//! or has a queue.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::oneshot;

use super::bodies::SECRET;
use super::server::Server;

/// The argument that makes the bench's executable one of these servers.
const SERVE: &str = "serve-as";
/// Threads of each server, as many as the host has for HTTP.
const THREADS: usize = 2;
/// Bytes of the log before it starts again from its beginning.
const LOG_BYTES: u64 = 256 << 20;

/// What to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// Reads the body and answers: what HTTP costs by itself.
    Bare,
    /// Also checks the signature and appends the body to a file that is on disk before the
    /// answer, many bodies with one flush: what durability costs by itself.
    Log,
}

impl Floor {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Log => "log",
        }
    }

    pub fn start(self, folder: &Path) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(SERVE)
            .arg(self.name())
            .arg(folder.join("floor.log"));
        Server::start(command, folder)
    }
}

/// Serves, where the command line says so; `false` where this is the bench itself.
pub fn serve_if_asked() -> Result<bool> {
    let words: Vec<String> = std::env::args().collect();
    let [_, word, name, path] = words.as_slice() else {
        return Ok(false);
    };
    if word != SERVE {
        return Ok(false);
    }
    // Whoever started us holds the other end: when it is gone, so are we.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let router = match name.as_str() {
        "bare" => Router::new().fallback(read_body),
        "log" => Router::new()
            .fallback(append)
            .with_state(Log::open(&PathBuf::from(path))?),
        _ => bail!("unknown floor {name}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok::<_, anyhow::Error>(axum::serve(listener, router).await?)
    })?;
    Ok(true)
}

async fn read_body(_: Bytes) {}

async fn append(State(log): State<Log>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !is_signed(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    match log.append(body).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let signature = headers
        .get("x-hub-signature-256")
        .and_then(|it| it.to_str().ok()?.strip_prefix("sha256="))
        .and_then(|it| hex::decode(it).ok());
    let (Some(signature), Ok(mut mac)) =
        (signature, Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()))
    else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// A file that is only appended to, by one thread.
#[derive(Clone)]
struct Log(Sender<Entry>);

struct Entry {
    body: Bytes,
    on_disk: oneshot::Sender<()>,
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)?;
        // Written and not only reserved: the first write to a reserved block costs a second flush.
        let zeros = vec![0; 1 << 20];
        for at in (0..LOG_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let (queue, waiting) = channel();
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || write(&file, &waiting))?;
        Ok(Self(queue))
    }

    async fn append(&self, body: Bytes) -> Result<()> {
        let (on_disk, answer) = oneshot::channel();
        self.0.send(Entry { body, on_disk })?;
        answer.await.context("the log's thread is gone")
    }
}

/// Ends at the first error: then nobody is answered any more.
fn write(file: &File, waiting: &Receiver<Entry>) -> Result<()> {
    let (mut group, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    while let Ok(first) = waiting.recv() {
        group.push(first);
        group.extend(waiting.try_iter());
        bytes.clear();
        for entry in &group {
            bytes.extend_from_slice(&(entry.body.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&entry.body);
        }
        if LOG_BYTES < at + bytes.len() as u64 {
            at = 0;
        }
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        for entry in group.drain(..) {
            // Whoever hung up does not want the answer.
            let _ = entry.on_disk.send(());
        }
    }
    Ok(())
}
