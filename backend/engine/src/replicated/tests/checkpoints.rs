//! Checkpoints, trimming, and indices made anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use weft_layout::DriveState;
use weft_types::Position;
use weft_wire::ownership::ShardRow;

use super::super::checkpoint_is_due;
use super::sim::{Fault, KEY, Sim, SimLog};
use super::{append, contents, log_of, next};
use crate::{Batch, Index, IndexError, LoadError, ReadError, RecoverIndexError, ShardLog, recover_index};

/// A log, all its batches, and an index at its end.
struct Bench {
    sim: Sim,
    log: SimLog,
    all: Vec<Batch>,
    index: Index,
    dir: TempDir,
}

impl Bench {
    async fn new(batches: usize) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let sim = Sim::new("4+2", 6);
        let (log, all) = log_of(&sim, batches).await;
        let index = recover_index(&log, &dir.path().join("index")).await.expect("recovers").index;
        Self { sim, log, all, index, dir }
    }

    async fn append(&mut self, text: &str) {
        let batch = append(&self.log, text).await.expect("appends");
        self.index.apply(std::slice::from_ref(&batch), false).expect("applies");
        self.all.push(batch);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The rows that all batches together make.
    fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = std::collections::BTreeMap::new();
        for row in self.all.iter().flat_map(|batch| &batch.rows) {
            rows.insert(row.key.clone(), row.value.clone().expect("nothing is deleted"));
        }
        rows.into_iter().collect()
    }

    /// A new owner makes a new index, of which everything is there.
    async fn assert_all(&self, context: &str) -> SimLog {
        let log = self.sim.take_over().await.expect("takes over");
        let path = self.path("anew");
        let _ = std::fs::remove_file(&path);
        let recovered = recover_index(&log, &path).await.expect("recovers");
        assert_eq!(recovered.index.applied(), log.end(), "{context}");
        assert_eq!(recovered.index.scan(&[], None, usize::MAX).expect("scans"), self.rows(), "{context}");
        let salts: Vec<_> = recovered.index.salts().expect("reads").into_iter().map(|salt| salt.0).collect();
        assert!(self.all.iter().all(|batch| salts.contains(&batch.position.epoch)), "{context}");
        log
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_published_and_only_then_the_log_before_it_is_trimmed() {
    let mut bench = Bench::new(6).await;
    bench.sim.world().store = Some(Fault::Silent);
    assert!(bench.log.checkpoint(&bench.index).await.is_err(), "it is not published");
    bench.log.maintain().await.expect("keeps up");
    assert!(bench.sim.list().iter().all(|home| bench.sim.holders(1).contains(home)), "all of it is needed");
    bench.sim.world().store = None;
    bench.append("more").await;
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    let root = bench.sim.row().checkpoint.expect("published");
    assert_eq!((root.position, root.drives.len()), (bench.all[6].position, 3));
    bench.append("behind").await;
    bench.log.maintain().await.expect("trims");
    for home in bench.sim.homes() {
        let (records, objects) = bench.sim.with(home, |drive| (drive.records.clone(), drive.objects.clone()));
        // The record at the checkpoint stays, for the chain.
        assert!(records.keys().all(|seq| *seq >= 7), "trimmed");
        assert!(objects.keys().all(|key| (key.epoch, key.number) == (root.epoch, root.number)), "no garbage");
    }
    let log = bench.assert_all("after the trim").await;
    assert_eq!(log.start(), root.position);
    let error = log.read(bench.all[4].position, 0).await.expect_err("trimmed");
    assert!(matches!(error, ReadError::Trimmed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_checkpoint_loses_nothing_and_leaves_no_garbage() {
    let mut bench = Bench::new(5).await;
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    for millis in 0..24 {
        bench.append(&format!("before {millis}")).await;
        let work = async {
            let _ = bench.log.checkpoint(&bench.index).await;
            let _ = bench.log.maintain().await;
        };
        let _ = timeout(Duration::from_millis(millis), work).await;
        bench.log = bench.assert_all(&format!("after {millis} ms")).await;
        bench.log.maintain().await.expect("sweeps");
        let root = bench.sim.row().checkpoint.expect("one is published");
        for home in bench.sim.homes() {
            let objects = bench.sim.with(home, |drive| drive.objects.keys().copied().collect::<Vec<_>>());
            assert!(
                objects.iter().all(|key| (key.epoch, key.number) == (root.epoch, root.number)),
                "{millis} ms"
            );
        }
    }
}

/// The row may be an older one then: what it does not name may be what the newest one named.
#[tokio::test(start_paused = true)]
async fn while_no_drive_counts_nothing_is_swept() {
    let mut bench = Bench::new(5).await;
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    let objects = |bench: &Bench| -> usize {
        bench.sim.homes().into_iter().map(|home| bench.sim.with(home, |drive| drive.objects.len())).sum()
    };
    let whole = objects(&bench);
    // An owner that died while it wrote the next one.
    bench.append("more").await;
    for millis in 1.. {
        let _ = timeout(Duration::from_millis(millis), bench.log.checkpoint(&bench.index)).await;
        if objects(&bench) > whole {
            break;
        }
    }
    bench.log = bench.assert_all("after the crash").await;
    let before = objects(&bench);
    assert!(before > whole, "the row names the older one");
    let all = |bench: &Bench, state| {
        bench.sim.homes().into_iter().for_each(|home| bench.sim.set_state(home, Some(state)));
    };
    all(&bench, DriveState::Returning);
    bench.log.maintain().await.expect("waits");
    assert_eq!(objects(&bench), before);
    all(&bench, DriveState::Up);
    bench.log.maintain().await.expect("sweeps");
    assert_eq!(objects(&bench), whole, "what the row does not name goes");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_of_one_position_while_batches_go_on() {
    let mut bench = Bench::new(3).await;
    let large = "x".repeat(1 << 20);
    for _ in 0..6 {
        bench.append(&large).await;
    }
    let end = bench.log.end();
    let more = async {
        let mut batches = Vec::new();
        for n in 0..5 {
            let batch = append(&bench.log, &format!("meanwhile {n}")).await.expect("appends");
            bench.index.apply(std::slice::from_ref(&batch), true).expect("applies");
            batches.push(batch);
        }
        batches
    };
    let (done, more) = tokio::join!(bench.log.checkpoint(&bench.index), more);
    done.expect("publishes");
    let root = bench.sim.row().checkpoint.expect("published");
    assert!(root.parts >= 3, "{root:?}");
    assert_eq!(root.position, end);
    bench.all.extend(more);
    bench.assert_all("from the checkpoint").await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_damaged_on_one_drive_comes_from_another() {
    let mut bench = Bench::new(3).await;
    for _ in 0..5 {
        bench.append(&"x".repeat(1 << 20)).await;
    }
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    let root = bench.sim.row().checkpoint.expect("published");
    let spoil = |home, part: u32| {
        bench.sim.with(home, |drive| {
            let object = drive.objects.iter_mut().find(|(key, _)| key.part == part).expect("there").1;
            let mut bytes = object.to_vec();
            bytes[500] ^= 1;
            *object = bytes.into();
        });
    };
    spoil(root.drives[0], 0);
    spoil(root.drives[1], 1);
    bench.sim.set_fault(root.drives[2], Some(Fault::Silent));
    bench.assert_all("each part is whole somewhere").await;
    spoil(root.drives[1], 0);
    bench.sim.set_fault(root.drives[2], None);
    spoil(root.drives[2], 0);
    let log = bench.sim.take_over().await.expect("takes over");
    let error = recover_index(&log, &bench.path("lost")).await.expect_err("no copy is whole");
    let damaged = matches!(error, RecoverIndexError::Checkpoint(LoadError::Damaged { part: 0, .. }));
    assert!(damaged, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_fails_while_a_checkpoint_is_written_is_replaced() {
    for fault in [Fault::Silent, Fault::Mute, Fault::Full] {
        let bench = Bench::new(3).await;
        let failing = bench.sim.list()[1];
        bench.sim.set_fault(failing, Some(fault));
        bench.log.checkpoint(&bench.index).await.expect("publishes");
        let root = bench.sim.row().checkpoint.expect("published");
        assert!(!root.drives.contains(&failing));
        bench.assert_all("on others").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_anew_when_a_drive_of_it_stays_away() {
    let mut bench = Bench::new(3).await;
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    bench.append("more").await;
    let gone = bench.sim.row().checkpoint.expect("published").drives[0];
    bench.sim.set_fault(gone, Some(Fault::Silent));
    bench.sim.set_state(gone, Some(DriveState::Down));
    bench.log.maintain().await.expect("keeps up");
    assert!(!bench.log.checkpoint_due(), "it may come back");
    tokio::time::sleep(Duration::from_secs(301)).await;
    bench.log.maintain().await.expect("keeps up");
    assert!(bench.log.checkpoint_due());
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    assert!(!bench.sim.row().checkpoint.expect("published").drives.contains(&gone));
    assert!(!bench.log.checkpoint_due());
}

#[test]
fn a_checkpoint_is_due_when_the_log_outgrows_it_or_the_row_is_long() {
    let row = |checkpoint: u64, ends: u64| -> ShardRow {
        let sim = Sim::new("2+1", 3);
        let mut row = sim.row();
        let end = |n| weft_wire::ownership::EpochEnd { epoch: weft_types::Epoch::new(n + 1), seq: n };
        row.ends = (0..ends).map(end).collect();
        row.checkpoint = (checkpoint > 0).then(|| weft_wire::ownership::CheckpointRoot {
            position: Position::default(),
            epoch: weft_types::Epoch::new(1),
            number: 1,
            parts: 1,
            bytes: checkpoint,
            digest: weft_types::Digest([0; 32]),
            drives: Vec::new(),
        });
        row
    };
    assert!(!checkpoint_is_due(&row(0, 1), 32, 32));
    assert!(checkpoint_is_due(&row(0, 1), 33, 32));
    assert!(!checkpoint_is_due(&row(100, 1), 33, 32));
    assert!(checkpoint_is_due(&row(100, 1), 101, 32));
    assert!(checkpoint_is_due(&row(0, 16), 0, 32));
}

fn set_aside(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    PathBuf::from(name).exists()
}

#[tokio::test(start_paused = true)]
async fn only_durable_batches_reach_an_index_and_one_beyond_the_recorded_end_is_discarded() {
    let bench = Bench::new(3).await;
    let list = bench.sim.list();
    bench.sim.set_fault(list[1], Some(Fault::Silent));
    bench.sim.set_fault(list[2], Some(Fault::Silent));
    let open = next(&bench.log, "open");
    assert!(timeout(Duration::from_millis(300), bench.log.append(&open)).await.is_err());
    // An owner that breaks the rule.
    bench.index.apply(std::slice::from_ref(&open), true).expect("applies");
    let path = bench.path("index");
    let Bench { sim, dir, index, .. } = bench;
    drop(index);
    sim.set_fault(list[0], Some(Fault::Silent));
    sim.set_fault(list[1], None);
    let log = sim.take_over().await.expect("takes over");
    let recovered = recover_index(&log, &path).await.expect("recovers");
    assert!(recovered.set_aside.is_some() && set_aside(&path));
    assert_eq!(recovered.index.applied(), log.end());
    // The same when its sequence is taken by another batch since.
    drop(recovered);
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    append(&log, "mine").await.expect("appends");
    std::fs::copy(&name, &path).expect("copies");
    let recovered = recover_index(&log, &path).await.expect("recovers");
    assert!(recovered.set_aside.expect("discarded").contains("does not count"));
    assert_eq!(recovered.index.applied(), log.end());
    drop(dir);
}

#[tokio::test(start_paused = true)]
async fn an_index_behind_the_log_catches_up_and_one_at_its_end_has_nothing_to_do() {
    let bench = Bench::new(3).await;
    let path = bench.path("other");
    assert_eq!(recover_index(&bench.log, &path).await.expect("recovers").replayed, 3);
    append(&bench.log, "more").await.expect("appends");
    assert_eq!(recover_index(&bench.log, &path).await.expect("recovers").replayed, 1);
    let recovered = recover_index(&bench.log, &path).await.expect("recovers");
    assert_eq!((recovered.replayed, recovered.set_aside), (0, None));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_of_no_use_is_set_aside_and_made_anew() {
    let mut bench = Bench::new(3).await;
    let old = bench.path("old");
    drop(recover_index(&bench.log, &old).await.expect("recovers"));
    bench.append("more").await;
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    bench.append("behind").await;
    let damaged = bench.path("damaged");
    std::fs::write(&damaged, b"this is no index").expect("writes");
    let other = bench.path("other");
    let key = weft_wire::log::LogKey { shard: weft_types::MetadataShard::new(9), ..KEY };
    drop(Index::open(&other, key).expect("opens"));
    for path in [&old, &damaged, &other] {
        let recovered = recover_index(&bench.log, path).await.expect("recovers");
        assert!(recovered.set_aside.is_some() && set_aside(path), "{}", path.display());
        assert_eq!(recovered.index.applied(), bench.log.end());
        assert_eq!(recovered.index.scan(&[], None, 99).expect("scans"), bench.rows());
    }
    // What was left of a loading that did not come to its end is not used.
    let half = bench.path("half");
    let mut loading = half.as_os_str().to_owned();
    loading.push(".loading");
    let left = Index::open(Path::new(&loading), KEY).expect("opens");
    left.fill(&[(b"junk".to_vec(), b"junk".to_vec())]).expect("fills");
    drop(left);
    let recovered = recover_index(&bench.log, &half).await.expect("recovers");
    assert_eq!(recovered.index.scan(&[], None, 99).expect("scans"), bench.rows());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_nothing_before_a_checkpoint_is_still_checked_against_its_ends() {
    let mut bench = Bench::new(2).await;
    for n in 0..4 {
        bench.log = bench.sim.take_over().await.expect("takes over");
        bench.append(&format!("{n}")).await;
    }
    bench.log.checkpoint(&bench.index).await.expect("publishes");
    assert!(bench.sim.row().ends.is_empty(), "the checkpoint stands for them");
    bench.append("on").await;
    let log = bench.assert_all("after forgetting ends").await;
    assert_eq!(contents(&log).await.len(), 1);
    let applied = Position { epoch: weft_types::Epoch::new(2), seq: bench.all[5].position.seq + 1 };
    let error = log.read(applied, 0).await.expect_err("an early epoch behind the checkpoint");
    assert!(matches!(error, ReadError::NoSuchPosition(_)), "{error}");
    assert!(matches!(bench.index.apply(&bench.all[..1], false), Err(IndexError::OutOfOrder { .. })));
}
