//! What happens to extents after they were committed: the shards of dead ones are deleted, shards that nobody will ever
//! name are found and go, drives that come back are compared with the rows, and shards move to where the map wants them.
//!
//! Everything is decided by pure functions from rows that are durable, the map, and what drives answered; the rest makes
//! the calls. There is no clock but [`tokio::time`] and the time of day that the rows give, no task is spawned, and one
//! thread suffices, so that a simulation can run it.
//!
//! # What is deleted, and why that is safe
//! - A *dead* extent: its row says that no map refers to it, and since when. Nothing makes it live again. Its shards go
//!   from all drives that any list of its group names; then its row goes.
//! - An *orphan*: a shard whose extent has no row, of a session that has ended in this shard's log, was ended at
//!   management and was closed at every drive. What has ended commits nothing any more, so that no row can come. A session
//!   that the rows do not know says nothing: it is another filesystem's.
//! - A *stray*: the extent's row says that all its shards lie by some membership of the group or a later one, and none of
//!   these has the drive in the shard's place.
//!
//! All three wait for the deletion delay, because readers may have read a map before. Each of these facts lasts once it
//! is durable, so that an owner that was deposed without knowing it is not wrong about them; but a stray's drive may get
//! the shard back by a later map, so that strays are looked at again with the newest map right before they are deleted.

mod compare;
mod deletion;
mod homes;
mod plan;
mod respread;
mod seam;
mod strays;
mod survey;
mod sweep;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_layout::{ClusterMap, DriveState};
use weft_types::{ExtentId, MapVersion, SessionId, Timestamp};
use weft_wire::ownership::{DriveHome, GroupFloor, Reconciled, ReportCare};

pub use deletion::Deleter;
pub use seam::{CareError, ExtentRows, ReadFailure, ShardHomes, Unanswered};

use deletion::LeftDead;
use strays::Strays;
use survey::Survey;

/// How care is taken.
#[derive(Debug, Clone, Copy)]
pub struct CareSettings {
    /// Shards are deleted this long after nothing needs them any more.
    pub deletion_delay: Duration,
    /// An owner moves no shard, and deletes none that moved, for so long after it began: what its predecessor sent to
    /// drives has arrived by then, or never will.
    pub settle: Duration,
    /// How often all shards of a drive are looked at.
    pub scrub_every: Duration,
    /// How long a session is remembered after it was closed everywhere.
    pub remember_closed: Duration,
    /// How often management is told, also when nothing has changed.
    pub report_every: Duration,
    /// How long to wait between looks at extents that cannot be moved now, or deleted.
    pub again: Duration,
    /// Extents that are moved at a time.
    pub moves: usize,
}

impl Default for CareSettings {
    fn default() -> Self {
        Self {
            deletion_delay: Duration::from_secs(15),
            settle: Duration::from_secs(20),
            scrub_every: Duration::from_secs(3600),
            remember_closed: Duration::from_secs(24 * 3600),
            report_every: Duration::from_secs(3),
            again: Duration::from_secs(15),
            moves: 8,
        }
    }
}

/// What care has to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CareCounts {
    /// Extents that lie by an earlier membership of their group.
    pub respread_left: u64,
    /// Orphans and strays deleted since the process started.
    pub orphans_deleted: u64,
    /// Drives that are being compared after their return.
    pub reconciling: u64,
}

/// The care that one owner takes of its extents. What it remembers can all be found out again.
///
/// [`reclaim`](Self::reclaim), [`place`](Self::place), [`compare`](Self::compare), [`sweep`](Self::sweep) and
/// [`report`](Self::report) each do what is due and come back; they are to be called over and over, one after the other or
/// at the same time.
#[derive(Debug)]
pub struct Care {
    settings: CareSettings,
    began: Instant,
    busy: Busy,
    state: Mutex<State>,
    orphans_deleted: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing is committed any more that was written before a change in this map.
    acted: Option<Arc<ClusterMap>>,
    /// Where the extents lay at the last look, and by which map.
    survey: Option<(MapVersion, Survey)>,
    /// When to look again.
    next_look: Option<Instant>,
    strays: Strays,
    left_dead: Option<LeftDead>,
    reconciled: BTreeMap<DriveHome, Reconciled>,
    reconciling: BTreeSet<DriveHome>,
    /// When all shards of a drive are to be looked at again.
    next_scrub: BTreeMap<DriveHome, Instant>,
    /// Closed sessions of which these drives hold nothing any more that nobody names.
    swept: BTreeMap<SessionId, BTreeSet<DriveHome>>,
    reported: Option<(Instant, ReportCare)>,
}

impl Care {
    /// Begins, with the ownership.
    pub fn new(settings: CareSettings) -> Self {
        Self {
            settings,
            began: Instant::now(),
            busy: Busy::default(),
            state: Mutex::default(),
            orphans_deleted: AtomicU64::new(0),
        }
    }

    /// What there is to tell.
    pub fn counts(&self) -> CareCounts {
        let state = self.state();
        CareCounts {
            respread_left: state.survey.as_ref().map_or(0, |(_, survey)| survey.left()),
            orphans_deleted: self.orphans_deleted.load(Ordering::Relaxed),
            reconciling: state.reconciling.len() as u64,
        }
    }

    /// Tells management on which map the owner acts, where extents lie, and which drives were compared: at once when that
    /// has changed, and every now and then.
    pub async fn report(&self, rows: &impl ExtentRows, homes: &impl ShardHomes) {
        let Some(report) = self.due_report(rows) else { return };
        if rows.may_act() && homes.report(&report).await.is_ok() {
            self.state().reported = Some((Instant::now(), report));
        }
    }

    fn due_report(&self, rows: &impl ExtentRows) -> Option<ReportCare> {
        let state = self.state();
        let map = state.acted.as_ref()?;
        let survey = state.survey.as_ref().filter(|(version, _)| *version == map.version);
        let floors: Vec<GroupFloor> = survey.map_or(Vec::new(), |(_, survey)| survey.floors(map));
        let known = |home: &Reconciled| {
            let drive = map.drive(home.home.drive);
            drive.is_some_and(|drive| homes::home(drive) == home.home && drive.returned == home.returned)
        };
        let reconciled = state.reconciled.values().copied().filter(known).collect();
        let report = ReportCare { owner: rows.held(), map: map.version, floors, reconciled };
        let due = state
            .reported
            .as_ref()
            .is_none_or(|(at, last)| *last != report || at.elapsed() >= self.settings.report_every);
        due.then_some(report)
    }

    /// Whether what a predecessor sent has arrived, or never will.
    fn has_settled(&self) -> bool {
        self.began.elapsed() >= self.settings.settle
    }

    /// What happened before this is old enough to be acted upon.
    fn before(&self, rows: &impl ExtentRows) -> Timestamp {
        earlier(rows.now(), self.settings.deletion_delay)
    }

    fn count_deleted(&self, shards: usize) {
        self.orphans_deleted.fetch_add(shards as u64, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extents of which shards are being moved or deleted: one thing at a time.
#[derive(Debug, Default)]
struct Busy(Mutex<BTreeSet<ExtentId>>);

impl Busy {
    /// Takes an extent, until the answer is dropped; `None` when somebody has it.
    fn take(&self, id: ExtentId) -> Option<Taken<'_>> {
        // Not made before it is known that nobody has it: dropping it gives the extent back.
        self.set().insert(id).then(|| Taken { busy: self, id })
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<ExtentId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Taken<'a> {
    busy: &'a Busy,
    id: ExtentId,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.busy.set().remove(&self.id);
    }
}

/// Drives of the map that answer.
fn answering(map: &ClusterMap) -> impl Iterator<Item = DriveHome> + '_ {
    map.drives.iter().filter(|drive| drive.state != DriveState::Down).map(homes::home)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds: time.seconds.saturating_sub(seconds), nanos: time.nanos }
}

#[cfg(test)]
mod tests;
