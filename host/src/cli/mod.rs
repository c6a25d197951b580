//! The command line: arguments in, a result on stdout, problems on stderr.
//!
//! Called by `main`. Each file beside this one is a group of subcommands; they write
//! to what they are given and leave exit codes and errors to this file.

mod check;
mod event;
mod failure;
mod init;
mod integration;
mod output;
pub mod plugin;
mod rejection;
mod run;
mod selftest;
mod send;
mod serve;
mod story;
#[cfg(test)]
mod tests;
mod ticket;
mod token;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;
use self::output::Output;
use crate::clock::Clock;
use crate::config::{Config, ConfigFile};
use crate::sandbox::{COMMAND, child};
use crate::store::Store;

/// Receives webhooks, keeps them, and runs sandboxed triage policies on them.
#[derive(Debug, Parser)]
#[command(name = "triage", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TRIAGE_CONFIG",
        default_value = "triage.toml"
    )]
    config: PathBuf,
    /// Print JSON, also for errors.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, a database and a token to begin with.
    Init(init::Arguments),
    /// Receive webhooks and run policies on them, until told to stop.
    Serve(serve::Arguments),
    /// Say whether the configuration and its plugins can be used, and everything that is wrong.
    Check,
    /// Add senders, and replace their signing secrets.
    #[command(subcommand)]
    Integration(integration::IntegrationCommand),
    /// Sign a delivery as a provider does and send it to the server.
    Send(send::Arguments),
    /// Look at events.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Look at what policies did with events.
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Look at deliveries that were refused.
    #[command(subcommand)]
    Rejection(rejection::RejectionCommand),
    /// Look at the tickets of the built-in desk.
    #[command(subcommand)]
    Ticket(ticket::TicketCommand),
    /// Say who may ask the API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Try on this machine whether thirty kinds of hostile plugins are contained.
    Selftest,
    /// Build and inspect plugins; see which versions run.
    #[command(subcommand)]
    Plugin(plugin::Commands),
    /// What this program starts to compile a plugin: a component on stdin, machine code on stdout.
    #[command(name = COMMAND, hide = true)]
    CompileComponent(child::Arguments),
}

/// What every command gets.
struct Context<'a> {
    config_path: PathBuf,
    env: &'a dyn Fn(&str) -> Option<String>,
    clock: Clock,
}

impl Context<'_> {
    /// Where the configuration is.
    fn config_file(&self) -> ConfigFile<'_> {
        ConfigFile {
            path: &self.config_path,
            env: self.env,
        }
    }

    /// The configuration, without a problem in it.
    fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config_path, self.env)?)
    }

    /// The configuration of which only the server's own settings are sure.
    fn server_config(&self) -> Result<Config, Failure> {
        // Whoever reads events need not be able to read the server's key.
        let needed =
            |setting: &str| setting.starts_with("server") && !setting.starts_with("server.tls");
        Ok(Config::load_for(&self.config_path, self.env, &needed)?)
    }

    /// The database, for reading, whether or not a server has it open.
    fn store_to_read(&self) -> Result<Store, Failure> {
        let config = self.server_config()?;
        Ok(Store::open_to_read(&config.database).map_err(anyhow::Error::new)?)
    }
}

/// Runs one command line: 0 is done, 1 failed, 2 was not understood.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<String>,
    clock: Clock,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = arguments.iter().any(|it| it == "--json");
    let failure = match Cli::try_parse_from(arguments) {
        Ok(cli) => match run(cli, env, clock, stdout) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(error) if !error.use_stderr() => {
            // Help and version. Nobody is left to be told that they could not be written.
            let _ = write!(stdout, "{}", error.render());
            return ExitCode::SUCCESS;
        }
        Err(error) => Failure::Arguments(error),
    };
    if failure.is_closed_pipe() {
        // Whoever reads has seen enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    let _ = failure.write(json, stderr);
    ExitCode::from(failure.exit_code())
}

fn run(
    cli: Cli,
    env: &dyn Fn(&str) -> Option<String>,
    clock: Clock,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    let context = Context {
        config_path: cli.config,
        env,
        clock,
    };
    let mut output = Output::new(stdout, cli.json, context.clock.now());
    match cli.command {
        Command::Init(arguments) => init::run(&arguments, &context, &mut output),
        Command::Serve(arguments) => serve::run(&arguments, &context, &mut output),
        Command::Check => check::run(&context, &mut output),
        Command::Integration(command) => integration::run(command, &context, &mut output),
        Command::Send(arguments) => send::run(&arguments, &context, &mut output),
        Command::Event(command) => event::run(command, &context, &mut output),
        Command::Run(command) => run::run(command, &context, &mut output),
        Command::Rejection(command) => rejection::run(command, &context, &mut output),
        Command::Ticket(command) => ticket::run(command, &context, &mut output),
        Command::Selftest => selftest::run(&context, &mut output),
        Command::Token(command) => token::run(command, &context, &mut output),
        Command::Plugin(plugin::Commands::OnFiles(command)) => {
            Ok(plugin::run(command, cli.json, output.raw())?)
        }
        Command::Plugin(plugin::Commands::OfServer(command)) => {
            plugin::versions::run(command, &context, &mut output)
        }
        Command::CompileComponent(arguments) => Ok(child::run(
            &arguments,
            &mut io::stdin().lock(),
            output.raw(),
        )?),
    }?;
    Ok(output.raw().flush()?)
}

/// Runs what waits for the database or the network.
fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(work))
}
