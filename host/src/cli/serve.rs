//! `triage serve`: the server, with its log on stderr.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::Context;
use super::failure::Failure;
use super::output::Output;
use crate::app;
use crate::fail_point;
use crate::reload::Snapshot;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to log: a level, or levels by module, as `info,triage_host::egress=debug`.
    #[arg(
        long,
        value_name = "FILTER",
        env = "TRIAGE_LOG",
        default_value = "info"
    )]
    log: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(super) fn run(
    arguments: &Arguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    fail_point::arm(context.env).map_err(Failure::Usage)?;
    let file = context.config_file();
    let (config, known) = Snapshot::take(&file).into_first()?;
    log_to_stderr(arguments)?;
    if output.is_json() {
        let mut lines = JsonLines {
            out: output.raw(),
            line: Vec::new(),
        };
        return Ok(app::run(file, config, known, &mut lines)?);
    }
    Ok(app::run(file, config, known, output.raw())?)
}

fn log_to_stderr(arguments: &Arguments) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&arguments.log)
        .map_err(|error| Failure::Usage(format!("--log or TRIAGE_LOG: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match arguments.log_format {
        LogFormat::Text => {
            // Colours are for people; a file or a log collector gets none.
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            log.with_ansi(colours).try_init()
        }
        LogFormat::Json => log.json().try_init(),
    }
    .map_err(anyhow::Error::from_boxed)
    .context("cannot start the log")?;
    Ok(())
}

/// Turns each line that the server says into a JSON object.
struct JsonLines<'a> {
    out: &'a mut dyn Write,
    line: Vec<u8>,
}

impl Write for JsonLines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let message = String::from_utf8_lossy(&self.line);
            writeln!(self.out, "{}", json!({ "message": message }))?;
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
