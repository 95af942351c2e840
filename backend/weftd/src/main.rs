//! Runs a container of drive, compute and management processes from a JSON file.
//!
//! People use `weft`, which starts this program beside itself.

mod blueprint;
mod files;
mod form;
mod host;
mod private;
mod random;
mod recover;
mod run;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_resources::{FormSpec, RecoverSpec};

/// Longest text of a spec, in bytes.
const SPEC_BYTES_MAX: u64 = 1 << 20;

#[derive(Parser)]
#[command(name = "weftd", version, about = "Runs the backend processes of a Weft cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Form a new cluster on this host and print what was made, as JSON
    Form {
        /// The JSON file that says what to form; - for standard input
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
    },
    /// Make a cluster's files on this host again, from its drives and its KMS key alone, and print what was made
    Recover {
        /// The JSON file that says what to recover; - for standard input
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
    },
    /// Run a container until it is told to stop by SIGTERM or SIGINT
    Run {
        /// The container's JSON file
        container: PathBuf,
    },
}

/// Shards are megabytes that come and go: measured, this halves the CPU time of moving one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The others answer on standard output; a log would only stand around the one line that says what went wrong.
    start_logging(if matches!(arguments.command, Command::Run { .. }) { "info" } else { "warn" });
    host::harden();
    let outcome = match arguments.command {
        Command::Form { spec } => answer(&spec, |spec: &FormSpec| Ok(form::form(spec)?)),
        Command::Recover { spec } => answer(&spec, |spec: &RecoverSpec| {
            recover::recover(spec).map_err(|error| recover::explained(&error))
        }),
        Command::Run { container } => run::run(&container).map_err(|error| run::explained(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weftd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; `WEFT_LOG` says how much, as in `debug` or `weft_drive=trace,info`.
fn start_logging(unless_told: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(unless_told));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// Does what a spec says, and prints what came of it as JSON.
fn answer<S: DeserializeOwned, A: Serialize>(
    file: &Path,
    act: impl FnOnce(&S) -> anyhow::Result<A>,
) -> anyhow::Result<()> {
    let text = read_spec(file).with_context(|| format!("cannot read {}", file.display()))?;
    let spec =
        serde_json::from_slice(&text).with_context(|| format!("{} is no such spec", file.display()))?;
    println!("{}", serde_json::to_string(&act(&spec)?)?);
    Ok(())
}

fn read_spec(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(SPEC_BYTES_MAX).read_to_end(&mut text)?;
    } else {
        std::fs::File::open(file)?.take(SPEC_BYTES_MAX).read_to_end(&mut text)?;
    }
    Ok(text)
}
