//! `weft bench`

mod ground;
mod interrupt;
mod show;
mod subject;

use core::time::Duration;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use weft_bench::{BenchError, Parameters, Plan, REQUEST, Watcher, Workload};
use weft_types::ByteCount;

use crate::arguments::BenchArguments;
use crate::error::CommandError;
use crate::host::files::FileError;
use crate::output;
use crate::progress::Progress;

/// Why nothing was measured, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchCommandError {
    /// The bench ended before it was done.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
}

impl BenchCommandError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        match self {
            Self::Bench(error) => error.next_step(),
            Self::File(_) | Self::Signals(_) => None,
        }
    }
}

/// Measures a directory. What was made in it is removed, also when a signal ends it.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn run(dir: &Path, options: &BenchArguments, json: bool) -> Result<(), CommandError> {
    let report = measure(dir, options)?;
    if json { Ok(output::json(&report)?) } else { Ok(show::show(&report)?) }
}

fn measure(dir: &Path, options: &BenchArguments) -> Result<weft_bench::Report, BenchCommandError> {
    let subject = subject::of(dir, &options.path)?;
    let plan = Plan { parameters: parameters(options), ceilings: !options.no_ceilings, keep: options.keep };
    let stop = interrupt::stop_on_signals().map_err(BenchCommandError::Signals)?;
    let progress = Shown(Progress::steps("looking"));
    Ok(weft_bench::run(subject, &plan, &progress, &stop)?)
}

/// The progress of a bench on the terminal.
struct Shown(Progress);

impl Watcher for Shown {
    fn now(&self, done: usize, all: usize, what: &str) {
        self.0.done(done, all);
        self.0.now(what);
    }
}

fn parameters(options: &BenchArguments) -> Parameters {
    let seed = options.seed.unwrap_or_else(seed_of_now);
    let mut parameters = if options.small { Parameters::small(seed) } else { Parameters::full(seed) };
    let request = REQUEST as u64;
    let whole = |size: ByteCount| ByteCount::new(size.get().max(1).next_multiple_of(request));
    parameters.size = options.size.map_or(parameters.size, whole);
    parameters.files = options.files.map_or(parameters.files, |files| files as usize);
    parameters.bound = options.seconds.map_or(parameters.bound, |all| Duration::from_secs(all.into()));
    parameters.runs = options.runs.map_or(parameters.runs, |runs| runs as usize);
    if !options.only.is_empty() {
        let chosen = Workload::ALL.into_iter().filter(|workload| options.only.contains(workload));
        parameters.workloads = chosen.collect();
    }
    parameters
}

fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser;
    use weft_bench::Depth;

    fn typed(line: &str) -> Parameters {
        let arguments = Arguments::try_parse_from(line.split(' ')).expect(line);
        let Command::Bench(options) = arguments.command else { panic!("not bench") };
        parameters(&options)
    }

    #[test]
    fn what_is_typed_is_measured_in_the_benchs_own_order() {
        let all = typed("weft bench /mnt --seed 7");
        assert_eq!(all, Parameters::full(7));
        let some = typed(
            "weft bench /mnt --only rand-write-d16,seq-write --size 1500K --files 9 --runs 5 --seconds 2",
        );
        assert_eq!(some.workloads, [Workload::SeqWrite, Workload::RandWrite(Depth::Sixteen)]);
        assert_eq!((some.size.get(), some.files, some.runs), (2 << 20, 9, 5));
        assert_eq!(some.bound, Duration::from_secs(2));
        let small = typed("weft bench /mnt --small --runs 2 --seed 1");
        assert_eq!(small, Parameters { runs: 2, ..Parameters::small(1) });
    }
}
