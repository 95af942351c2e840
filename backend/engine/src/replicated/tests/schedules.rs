//! Random schedules of owners, crashes and faults. A seed that fails is printed; `WEFT_SEED=<seed>` runs it alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use weft_layout::DriveState;
use weft_wire::ownership::DriveHome;

use super::sim::{Fault, Sim, SimLog};
use super::{append, batch, next};
use crate::{Batch, ShardLog, recover_index};

/// Numbers that depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn chance(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).expect("small")]
    }
}

/// Runs a future until it has been polled so often; then it is dropped where it stands.
async fn crash_after<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let polled: Pin<&mut _> = future.as_mut();
        polled.poll(context).map(Some)
    })
    .await
}

/// What must be true of the log, and what may.
struct Model {
    /// The batches that count, whatever happens: acknowledged, or served by an owner.
    sure: Vec<Batch>,
    /// The batch behind them whose outcome is open.
    open: Option<Batch>,
}

struct Run {
    seed: u64,
    dice: Dice,
    sim: Sim,
    model: Model,
    /// Owners that may think that they still are.
    deposed: Vec<SimLog>,
    dir: tempfile::TempDir,
    lost_max: usize,
    /// Drives that do not serve now.
    bad: BTreeSet<DriveHome>,
    /// Drives that are gone for ever.
    gone: BTreeSet<DriveHome>,
    /// What happened, to be read when it fails.
    story: String,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let (protection, lost_max) = dice.pick(&[("2+1", 1), ("4+2", 2)]);
        let drives =
            u8::try_from(lost_max * 2 + 2 + usize::try_from(dice.roll(3)).expect("small")).expect("small");
        let sim = Sim::new(protection, drives);
        let dir = tempfile::tempdir().expect("directory");
        let (model, story) = (Model { sure: Vec::new(), open: None }, format!("seed {seed}: {protection}\n"));
        let (bad, gone) = (BTreeSet::new(), BTreeSet::new());
        Self { seed, dice, sim, model, deposed: Vec::new(), dir, lost_max, bad, gone, story }
    }

    fn note(&mut self, what: &str) {
        let _ = writeln!(self.story, "  {what}");
    }

    /// At most M drives do not serve at any time, for ever or for now.
    fn change_faults(&mut self) {
        self.sim.deliver();
        match self.dice.roll(6) {
            0 | 1 => {
                for home in std::mem::take(&mut self.bad) {
                    self.sim.set_fault(home, None);
                    let state = self.dice.pick(&[DriveState::Up, DriveState::Returning]);
                    self.sim.set_state(home, Some(state));
                }
                self.note("all are well");
            }
            2 | 3 if self.bad.len() + self.gone.len() < self.lost_max => {
                let homes: Vec<_> = self
                    .sim
                    .homes()
                    .into_iter()
                    .filter(|home| !self.gone.contains(home) && !self.bad.contains(home))
                    .collect();
                let home = self.dice.pick(&homes);
                let slow = Duration::from_millis(self.dice.roll(3000));
                let fault = self.dice.pick(&[
                    Fault::Silent,
                    Fault::Mute,
                    Fault::Delayed,
                    Fault::Slow(slow),
                    Fault::Full,
                ]);
                self.sim.set_fault(home, Some(fault));
                if self.dice.chance(3) {
                    self.sim.set_state(home, Some(DriveState::Down));
                }
                self.bad.insert(home);
                self.note(&format!("{} {fault:?}", home.drive.short()));
            }
            4 => {
                let fault =
                    self.dice.pick(&[None, Some(Fault::Silent), Some(Fault::Mute), Some(Fault::Delayed)]);
                self.sim.world().store = fault;
                self.note(&format!("store {fault:?}"));
            }
            5 if self.gone.len() + self.bad.len() < self.lost_max && self.dice.chance(3) => {
                // Its contents are lost.
                let homes: Vec<_> = self
                    .sim
                    .homes()
                    .into_iter()
                    .filter(|home| !self.gone.contains(home) && !self.bad.contains(home))
                    .collect();
                let home = self.dice.pick(&homes);
                self.sim.with(home, |drive| *drive = Default::default());
                self.sim.set_fault(home, Some(Fault::Silent));
                self.sim.set_state(home, None);
                self.gone.insert(home);
                self.note(&format!("{} is lost", home.drive.short()));
            }
            _ => {}
        }
    }

    /// A new owner, which may die on its way; then what it serves is looked at.
    async fn own(&mut self) -> Option<SimLog> {
        let polls = if self.dice.chance(2) { u64::MAX } else { self.dice.roll(60) };
        let (took, rival) = {
            let take = crash_after(polls, self.sim.take_over());
            // Whoever was the owner appends meanwhile.
            let rival = async {
                let log = self.deposed.last()?;
                let batch = self.model.open.clone().unwrap_or_else(|| next(log, "rival"));
                (batch.position.epoch == log.epoch()).then_some(())?;
                let done = tokio::time::timeout(Duration::from_secs(30), log.append(&batch)).await;
                Some((batch, matches!(done, Ok(Ok(_)))))
            };
            tokio::join!(take, rival)
        };
        if let Some((batch, acknowledged)) = rival
            && self.model.sure.last().is_none_or(|last| last.position.seq < batch.position.seq)
        {
            self.note(&format!("a rival: {} {acknowledged}", batch.position));
            self.model.open = Some(batch);
            if acknowledged {
                self.model.sure.extend(self.model.open.take());
            }
        }
        let log = match took {
            Some(Ok(log)) => log,
            Some(Err(error)) => {
                assert!(
                    !matches!(error, crate::TakeOverError::Damaged { .. }),
                    "nothing is damaged: {error}\n{}",
                    self.story
                );
                self.note(&format!("no owner: {error}"));
                return None;
            }
            None => {
                self.note("an owner dies as it begins");
                return None;
            }
        };
        self.note(&format!("owner {} at {}", log.epoch(), log.end()));
        self.look(&log).await;
        Some(log)
    }

    /// Every batch that counts is there, at its place with its bytes; the open one is whole or absent, and stays so.
    async fn look(&mut self, log: &SimLog) {
        let mut found = self.model.sure.iter().filter(|batch| batch.position.seq > log.start().seq);
        let mut after = log.start();
        let mut tail: Vec<Batch> = Vec::new();
        while after != log.end() {
            let page = match log.read(after, 400).await {
                Ok(page) => page,
                Err(error) => panic!("seed {}: {error}: {:?}\n{}", self.seed, self.sim.row(), self.story),
            };
            assert!(!page.is_empty(), "{}", self.story);
            after = page.last().expect("not empty").position;
            for batch in page {
                match found.next() {
                    Some(sure) => assert_eq!(*sure, batch, "{}", self.story),
                    None => tail.push(batch),
                }
            }
        }
        assert_eq!(found.next(), None, "acknowledged and gone\n{}", self.story);
        match tail.as_slice() {
            [] => {}
            [one] => assert_eq!(Some(one), self.model.open.as_ref(), "{}", self.story),
            more => panic!("{} batches that nobody appended\n{}", more.len(), self.story),
        }
        // What an owner serves may have been seen.
        self.model.sure.append(&mut tail);
        self.model.open = None;
    }

    /// An owner lives, for a while.
    async fn live(&mut self, log: SimLog) {
        for _ in 0..self.dice.roll(12) {
            if self.dice.chance(3) {
                self.change_faults();
            }
            let polls = if self.dice.chance(4) { 1 + self.dice.roll(40) } else { u64::MAX };
            match self.dice.roll(8) {
                0..5 => {
                    let fresh = next(&log, &format!("{}", self.dice.roll(1 << 32)));
                    let next = self.model.open.clone().unwrap_or(fresh);
                    self.model.open = Some(next.clone());
                    let done = crash_after(polls, log.append(&next)).await;
                    self.note(&format!("append {}: {done:?}", next.position));
                    match done {
                        Some(Ok(_)) => self.model.sure.extend(self.model.open.take()),
                        // It goes on with the same bytes, as if it had been in doubt; or dies.
                        None if self.dice.chance(2) => break,
                        _ => {
                            let other = log.append(&batch(next.position, "other")).await;
                            assert!(other.is_err(), "two batches for one position\n{}", self.story);
                        }
                    }
                }
                5 | 6 => {
                    let done = crash_after(polls, log.maintain()).await;
                    self.note(&format!("maintain: {done:?}"));
                }
                _ => {
                    let path = self.dir.path().join("index");
                    let index = recover_index(&log, &path).await.expect("recovers").index;
                    let done = crash_after(polls, log.checkpoint(&index)).await;
                    self.note(&format!("checkpoint: {done:?}"));
                }
            }
            for old in &self.deposed {
                let late = append(old, "late").await;
                assert!(late.is_err(), "a deposed owner appended\n{}", self.story);
            }
        }
        self.deposed.push(log);
        if self.deposed.len() > 2 {
            self.deposed.remove(0);
        }
    }

    /// Faults stop, and it heals.
    async fn heal(&mut self) {
        self.sim.deliver();
        self.sim.world().store = None;
        for home in self.sim.homes() {
            if !self.gone.contains(&home) {
                self.sim.set_fault(home, None);
                self.sim.set_state(home, Some(DriveState::Up));
            }
        }
        self.bad.clear();
        self.deposed.clear();
        let log = self.sim.take_over().await;
        let log = log.unwrap_or_else(|error| panic!("{error:?} {:?}\n{}", self.sim.row(), self.story));
        self.look(&log).await;
        let index = recover_index(&log, &self.dir.path().join("last")).await.expect("recovers").index;
        let mut rows = std::collections::BTreeMap::new();
        for row in self.model.sure.iter().flat_map(|batch| &batch.rows) {
            rows.insert(row.key.clone(), row.value.clone().expect("nothing is deleted"));
        }
        let found = index.scan(&[], None, usize::MAX).expect("scans");
        assert_eq!(found, rows.into_iter().collect::<Vec<_>>(), "{}", self.story);
        for _ in 0..3 {
            let batch = append(&log, "healed").await.expect("appends");
            self.model.sure.push(batch);
        }
        // A drive that failed may be shunned for a while, or hold something that is in the way.
        for _ in 0..6 {
            let _ = log.maintain().await;
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
        let row = self.sim.row();
        let kept = |home: &DriveHome| !self.gone.contains(home);
        for segment in &row.segments {
            assert!(segment.drives.iter().all(kept), "{row:?}\n{}", self.story);
            assert_eq!(segment.drives.len(), self.lost_max + 1, "{row:?}\n{}", self.story);
        }
        self.look(&log).await;
    }
}

async fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        if let Some(log) = run.own().await {
            run.live(log).await;
        }
        run.change_faults();
    }
    run.heal().await;
}

#[test]
fn what_was_acknowledged_is_in_the_log_of_every_later_owner() {
    let seeds: Vec<u64> = match std::env::var("WEFT_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..300).collect(),
    };
    for seed in seeds {
        // Told when the test fails.
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("builds").block_on(run(seed));
    }
}
