//! What a bench found out.

use std::path::PathBuf;

use serde::Serialize;

use crate::ceilings::{Bound, Ceiling};
use crate::ground::Warmth;
use crate::machine::Machine;
use crate::parameters::Parameters;
use crate::processes::PeakMemory;
use crate::statistics::{Latency, Spread};
use crate::workload::Workload;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub path: PathBuf,
    /// On what.
    pub machine: Machine,
    /// How much.
    pub parameters: Parameters,
    /// The cluster behind the path, where it is known.
    pub cluster: Option<ClusterFacts>,
    /// The figures.
    pub workloads: Vec<Row>,
    /// What this machine could give.
    pub ceilings: Vec<Ceiling>,
    /// The most memory that each container of the cluster had resident since its start.
    pub memory: Vec<PeakMemory>,
    /// CPU seconds of all processes of the cluster since the bench began, those that were restarted in between too.
    pub cluster_cpu_seconds: f64,
}

/// What is known of the cluster behind a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterFacts {
    /// Its directory.
    pub directory: PathBuf,
    /// Data and parity shards, as `N+M`.
    pub protection: String,
    /// How many drives.
    pub drives: usize,
    /// The directory in which the drives lie.
    pub drives_directory: PathBuf,
    /// The type of the filesystem in which they lie.
    pub drives_filesystem: String,
}

/// One workload's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which.
    pub workload: Workload,
    /// In words.
    pub description: &'static str,
    /// In what the rates are counted.
    pub unit: &'static str,
    /// The rates of all runs.
    #[serde(flatten)]
    pub rate: Spread,
    /// CPU seconds of the cluster in the median run, with what it left to be done afterwards.
    pub cluster_cpu_seconds: Option<f64>,
    /// CPU seconds of this bench in the median run.
    pub bench_cpu_seconds: f64,
    /// Units for one CPU second of the cluster, in the median run.
    pub per_cpu_second: Option<f64>,
    /// How cold it was in the run that was warmest; absent where that is no matter.
    pub warmth: Option<Warmth>,
    /// Whether it went around the page cache; absent where that is no matter.
    pub direct: Option<bool>,
    /// Ceilings of this workload, the lowest first.
    pub bounds: Vec<Bound>,
    /// Every run.
    pub runs: Vec<Run>,
}

/// One run of one workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Units per second.
    pub rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// Operations, or requests.
    pub operations: u64,
    /// Bytes.
    pub bytes: u64,
    /// How long single operations took, in microseconds.
    pub latency_us: Option<Latency>,
    /// CPU seconds of the cluster while it was measured.
    pub cluster_cpu_seconds_within: Option<f64>,
    /// The same, and until the cluster was quiet, but no longer than three seconds more.
    pub cluster_cpu_seconds: Option<f64>,
    /// CPU seconds of this bench.
    pub bench_cpu_seconds: f64,
    /// CPU seconds that others took of this host while it was measured: neither the cluster nor this bench.
    pub other_cpu_seconds: f64,
    /// How much was forgotten before.
    pub warmth: Option<Warmth>,
    /// Whether it went around the page cache.
    pub direct: Option<bool>,
}

impl Row {
    /// The figures of these runs; `None` when there are none.
    pub(crate) fn of(workload: Workload, runs: Vec<Run>) -> Option<Self> {
        let rate = Spread::of(&runs.iter().map(|run| run.rate).collect::<Vec<_>>())?;
        let median = &runs[rate.median_run];
        let units = median.rate * median.seconds;
        let used = median.cluster_cpu_seconds;
        let (bench_cpu_seconds, direct) = (median.bench_cpu_seconds, median.direct);
        let less = |warmth: &Warmth| (warmth.restarted, warmth.pages == crate::ground::Pages::All);
        let warmth =
            runs.iter().filter_map(|run| run.warmth.as_ref()).min_by_key(|warmth| less(warmth)).cloned();
        Some(Self {
            workload,
            description: workload.describe(),
            unit: workload.unit().word(),
            rate,
            cluster_cpu_seconds: used,
            bench_cpu_seconds,
            per_cpu_second: used.filter(|used| *used > 0.0).map(|used| units / used),
            warmth,
            direct,
            bounds: Vec::new(),
            runs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Pages;

    fn run(rate: f64, warmth: Option<Warmth>) -> Run {
        Run {
            rate,
            seconds: 2.0,
            operations: 1,
            bytes: 1,
            latency_us: None,
            cluster_cpu_seconds_within: Some(0.4),
            cluster_cpu_seconds: Some(0.5),
            bench_cpu_seconds: 0.1,
            other_cpu_seconds: 0.0,
            warmth,
            direct: Some(true),
        }
    }

    #[test]
    fn a_row_is_its_median_run_and_no_colder_than_its_warmest() {
        let cold = Warmth { restarted: true, pages: Pages::All, why: None };
        let warm = Warmth { restarted: false, pages: Pages::None, why: Some("x".to_owned()) };
        let runs = vec![run(10.0, Some(cold.clone())), run(30.0, Some(warm.clone())), run(20.0, Some(cold))];
        let row = Row::of(Workload::SeqRead, runs).expect("runs");
        assert_eq!((row.rate.median, row.per_cpu_second), (20.0, Some(80.0)));
        assert_eq!(row.warmth, Some(warm));
        assert!(Row::of(Workload::SeqRead, Vec::new()).is_none());
    }
}
