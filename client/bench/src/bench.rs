//! The course of a bench.

use std::path::PathBuf;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::BenchError;
use crate::ceilings;
use crate::ground::{self, Ground, Warmth};
use crate::machine::Machine;
use crate::parameters::Parameters;
use crate::processes::{Ledger, busy_ticks};
use crate::report::{ClusterFacts, Report, Row, Run};
use crate::site::{self, Site};
use crate::statistics::per_second;
use crate::stop::Stop;
use crate::workload::{Unit, Workload};
use crate::workloads::{self, Work};

/// What is measured.
pub struct Subject {
    /// An existing directory.
    pub path: PathBuf,
    /// The type of its filesystem.
    pub filesystem: String,
    /// The cluster behind it, when it is known.
    pub cluster: Option<ClusterFacts>,
    /// How the processes behind it are counted and made to forget.
    pub ground: Box<dyn Ground>,
}

/// How it is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How much.
    pub parameters: Parameters,
    /// Ceilings are measured too.
    pub ceilings: bool,
    /// The files stay.
    pub keep: bool,
}

/// Is told how far a bench is.
pub trait Watcher {
    /// So many steps of all are done, and this is under way.
    fn now(&self, done: usize, all: usize, what: &str);
}

/// Measures. Everything that was made is removed on return, unless it is to be kept.
///
/// # Errors
/// [`BenchError`]
pub fn run(
    mut subject: Subject,
    plan: &Plan,
    watcher: &dyn Watcher,
    stop: &Stop,
) -> Result<Report, BenchError> {
    let Plan { parameters, keep, ceilings } = plan;
    site::check(&subject.path, parameters.need())?;
    let mut machine = Machine::here(subject.filesystem.clone());
    let mut course = Course::new(subject.ground.as_mut());
    let mut site = Site::new(&subject.path, parameters.clone(), *keep, stop.clone())?;
    let before = if *ceilings { ceilings::STEPS } else { 0 };
    let steps = before + parameters.workloads.len() * parameters.runs;
    let mut done = 0;
    let mut now = |what: &str| {
        watcher.now(done, steps, what);
        done += 1;
    };
    // First, while nobody works on what a workload left behind.
    let known = if *ceilings {
        let protection = protection(subject.cluster.as_ref());
        let folder = subject.cluster.as_ref().map_or(site.root(), |cluster| &cluster.drives_directory);
        Some(ceilings::measure(parameters, folder, protection, stop, &mut now)?)
    } else {
        None
    };
    let mut workloads = course.measure_all(&mut site, &mut now)?;
    if let Some(known) = &known {
        machine.path_mtu = Some(known.quic.mtu);
        for row in &mut workloads {
            let from_memory = row.warmth.as_ref().is_some_and(|warmth| !warmth.restarted);
            row.bounds = ceilings::bounds(known, row.workload, row.rate.median, from_memory);
        }
    }
    watcher.now(steps, steps, "removing the files");
    site.remove()?;
    course.ledger.note(&course.ground.processes());
    Ok(Report {
        path: subject.path,
        machine,
        parameters: parameters.clone(),
        cluster: subject.cluster,
        workloads,
        ceilings: known.map(|known| known.list()).unwrap_or_default(),
        memory: course.ledger.peaks(),
        cluster_cpu_seconds: course.cluster_cpu() - course.cpu_before,
    })
}

fn protection(cluster: Option<&ClusterFacts>) -> Option<weft_layout::Protection> {
    cluster?.protection.parse().ok()
}

/// Measurements on one ground.
pub(crate) struct Course<'a> {
    ground: &'a mut dyn Ground,
    ledger: Ledger,
    /// CPU seconds of the processes before anything began.
    cpu_before: f64,
    /// The processes were restarted once.
    restarted: bool,
}

impl<'a> Course<'a> {
    pub(crate) fn new(ground: &'a mut dyn Ground) -> Self {
        let mut ledger = Ledger::default();
        ledger.note(&ground.processes());
        let cpu_before = seconds(ledger.cpu_ticks());
        Self { ground, ledger, cpu_before, restarted: false }
    }

    /// All workloads with all their runs; what large file is there at the end is what was written, to the last byte.
    pub(crate) fn measure_all(
        &mut self,
        site: &mut Site,
        now: &mut dyn FnMut(&str),
    ) -> Result<Vec<Row>, BenchError> {
        let (chosen, runs) = (site.parameters.workloads.clone(), site.parameters.runs);
        let mut rows = Vec::new();
        for workload in chosen.iter().copied() {
            let mut done = Vec::new();
            for run in 0..runs {
                now(&format!("{workload} {} of {runs}", run + 1));
                done.push(self.measure(site, workload, run)?);
            }
            rows.extend(Row::of(workload, done));
        }
        if chosen.iter().copied().any(Workload::overwrites) {
            self.chill(site)?;
            site.large.check_whole(&site.stop)?;
        }
        Ok(rows)
    }

    fn measure(&mut self, site: &mut Site, workload: Workload, run: usize) -> Result<Run, BenchError> {
        let work: Box<dyn Work> = workloads::work(workload);
        site.stop.check()?;
        work.prepare(site, run)?;
        ground::settle(self.ground, &mut self.ledger);
        let warmth = if workload.is_cold() { Some(self.chill(site)?) } else { None };
        ground::settle(self.ground, &mut self.ledger);
        site.stop.check()?;
        let (cluster_before, bench_before, host_before) = (self.cluster_cpu(), bench_cpu(), host_cpu());
        let measured = work.measure(site, run)?;
        let (cluster_within, bench_within, host_within) = (self.cluster_cpu(), bench_cpu(), host_cpu());
        ground::settle(self.ground, &mut self.ledger);
        let cluster_after = self.cluster_cpu();
        let rate = match workload.unit() {
            Unit::Megabytes => per_second(measured.bytes, measured.elapsed) / 1e6,
            Unit::Operations => per_second(measured.operations, measured.elapsed),
        };
        let counted = !self.ledger.is_empty();
        let (bench, within) = (bench_within - bench_before, cluster_within - cluster_before);
        Ok(Run {
            rate,
            seconds: measured.elapsed.as_secs_f64(),
            operations: measured.operations,
            bytes: measured.bytes,
            latency_us: measured.latency,
            cluster_cpu_seconds_within: counted.then_some(within),
            cluster_cpu_seconds: counted.then_some(cluster_after - cluster_before),
            bench_cpu_seconds: bench,
            other_cpu_seconds: (host_within - host_before - bench - within).max(0.0),
            warmth,
            direct: measured.direct,
        })
    }

    fn chill(&mut self, site: &Site) -> Result<Warmth, BenchError> {
        // Restarts are what takes the time of a small bench; one shows that they work.
        let restart = !(site.parameters.small && self.restarted);
        self.restarted = true;
        let place = (site.root(), site.large.path());
        ground::chill(self.ground, &mut self.ledger, place, restart).map_err(BenchError::Ground)
    }

    /// CPU seconds of all processes of the cluster so far.
    fn cluster_cpu(&mut self) -> f64 {
        self.ledger.note(&self.ground.processes());
        seconds(self.ledger.cpu_ticks())
    }
}

#[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// CPU seconds of everything on this host so far.
fn host_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    seconds(busy_ticks(&stat).unwrap_or_default())
}

/// CPU seconds of this process so far.
#[expect(clippy::cast_precision_loss, reason = "microseconds matter, and no more")]
fn bench_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests;
