//! Benches of a directory of this host, small ones.

use std::path::Path;

use super::*;
use crate::ground::PlainGround;
use crate::workload::{Depth, Threads};

struct Quiet;

impl Watcher for Quiet {
    fn now(&self, done: usize, all: usize, _: &str) {
        assert!(done <= all);
    }
}

fn subject(path: &Path) -> Subject {
    let path = path.to_owned();
    Subject { path, filesystem: "some".to_owned(), cluster: None, ground: Box::new(PlainGround) }
}

fn small(workloads: &[Workload]) -> Plan {
    let parameters = Parameters { workloads: workloads.to_vec(), runs: 2, ..Parameters::small(9) };
    Plan { parameters, ceilings: false, keep: false }
}

#[test]
fn every_workload_gives_a_figure_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let report =
        run(subject(folder.path()), &small(&Workload::ALL), &Quiet, &Stop::default()).expect("measured");
    let names: Vec<_> = report.workloads.iter().map(|row| row.workload).collect();
    assert_eq!(names, Workload::ALL);
    for row in &report.workloads {
        assert_eq!(row.runs.len(), 2);
        assert!(row.rate.min > 0.0 && row.rate.median <= row.rate.max, "{}: {row:?}", row.workload);
        assert_eq!(row.warmth.is_some(), row.workload.is_cold(), "{}", row.workload);
        assert_eq!(row.cluster_cpu_seconds, None, "nobody works for a directory");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
}

#[test]
fn each_workload_can_be_measured_alone() {
    for workload in Workload::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let mut plan = small(&[workload]);
        plan.parameters.runs = 1;
        let report = run(subject(folder.path()), &plan, &Quiet, &Stop::default()).expect("measured");
        assert_eq!(report.workloads.len(), 1, "{workload}");
    }
}

#[test]
fn a_stopped_bench_leaves_nothing() {
    struct StopsAt(Stop, usize);
    impl Watcher for StopsAt {
        fn now(&self, done: usize, _: usize, _: &str) {
            if done == self.1 {
                self.0.now();
            }
        }
    }
    for step in [0, 3, 9] {
        let folder = tempfile::tempdir().expect("a folder");
        let stop = Stop::default();
        let watcher = StopsAt(stop.clone(), step);
        let ended = run(subject(folder.path()), &small(&Workload::ALL), &watcher, &stop);
        assert!(matches!(ended, Err(BenchError::Interrupted)));
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }
}

/// A filesystem that forgets what was written, as it looks after a restart.
struct Forgetful(PathBuf);

impl Ground for Forgetful {
    fn processes(&mut self) -> Vec<crate::processes::ProcessUse> {
        Vec::new()
    }

    fn restart(&mut self) -> Result<(), ground::RestartError> {
        for site in std::fs::read_dir(&self.0).expect("listed").flatten() {
            for file in [site.path().join("large"), site.path().join("t1-run0/0/f3")] {
                if let Ok(meta) = file.metadata() {
                    std::fs::write(&file, vec![0; usize::try_from(meta.len()).expect("small")])
                        .expect("written");
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_filesystem_that_lies_fails_the_bench() {
    use Workload::{OpenRead, RandRead, RandWrite, SeqRead};
    let rows = [SeqRead, RandRead(Depth::Sixteen), OpenRead(Threads::One), RandWrite(Depth::One)];
    for workload in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let ground = Box::new(Forgetful(folder.path().to_owned()));
        let liar = Subject { ground, ..subject(folder.path()) };
        let ended = run(liar, &small(&[workload]), &Quiet, &Stop::default());
        assert!(matches!(ended, Err(BenchError::WrongBytes { .. })), "{workload}: {ended:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }
}
