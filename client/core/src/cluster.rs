//! The cluster map in use, and what this mount itself has seen of the drives.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::time::Instant;
use weft_layout::{ClusterMap, DriveState, GroupSlot, PlacementGroup, Protection};
use weft_types::{DriveId, Epoch, GroupId, MapVersion};

use crate::latency::Latency;

/// How long a drive is avoided after its first failure; doubles with each further one.
const AVOIDED_MIN: Duration = Duration::from_secs(1);
/// The longest time until a drive that failed is tried again.
const AVOIDED_MAX: Duration = Duration::from_secs(16);
/// How long a drive that was late is avoided.
const LATE: Duration = Duration::from_millis(500);

/// A map and its indices.
#[derive(Debug)]
pub(crate) struct MapView {
    map: ClusterMap,
    states: HashMap<DriveId, DriveState>,
    groups: HashMap<GroupId, usize>,
}

impl MapView {
    fn new(map: ClusterMap) -> Self {
        let states = map.drives.iter().map(|drive| (drive.id, drive.state)).collect();
        let groups = map.groups.iter().enumerate().map(|(index, group)| (group.id, index)).collect();
        Self { map, states, groups }
    }

    pub(crate) const fn version(&self) -> MapVersion {
        self.map.version
    }

    pub(crate) const fn protection(&self) -> Protection {
        self.map.protection
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<&PlacementGroup> {
        self.map.groups.get(*self.groups.get(&id)?)
    }

    /// Who may hold a group's slot of what was put under `epoch`: the member of then, the present one, and those of
    /// other times, the newest first.
    pub(crate) fn holders(&self, group: GroupId, epoch: Epoch, slot: GroupSlot) -> Vec<DriveId> {
        let Some(group) = self.group(group) else { return Vec::new() };
        let lists = group.members_at(epoch).into_iter().chain(core::iter::once(&group.members[..]));
        let lists = lists.chain(group.history.iter().map(|earlier| &earlier.members[..]));
        let mut holders = Vec::new();
        for drive in lists.filter_map(|members| members.get(slot.get())) {
            if !holders.contains(drive) {
                holders.push(*drive);
            }
        }
        holders
    }

    /// Whether the map says that a drive is down.
    pub(crate) fn is_down(&self, drive: DriveId) -> bool {
        self.states.get(&drive) == Some(&DriveState::Down)
    }

    /// Whether the map says that all members of a group are up.
    fn is_up(&self, group: &PlacementGroup) -> bool {
        group.members.iter().all(|drive| self.states.get(drive) == Some(&DriveState::Up))
    }
}

#[derive(Debug, Clone, Copy)]
struct Suspicion {
    until: Instant,
    pause: Duration,
}

/// Drives and groups, as seen from here.
#[derive(Debug)]
pub(crate) struct Cluster {
    view: RwLock<Arc<MapView>>,
    suspicions: Mutex<HashMap<DriveId, Suspicion>>,
    turn: AtomicUsize,
    pub(crate) latency: Latency,
    /// The version of the map in use.
    changed: weft_watch::Sender<MapVersion>,
    /// How many wait for a newer map.
    asking: weft_watch::Sender<usize>,
}

/// As long as it lives, management is asked for a newer map every now and then.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Cluster>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.send_modify(|count| *count -= 1);
    }
}

impl Cluster {
    pub(crate) fn new(map: ClusterMap) -> Self {
        Self {
            changed: weft_watch::Sender::new(map.version),
            view: RwLock::new(Arc::new(MapView::new(map))),
            suspicions: Mutex::default(),
            turn: AtomicUsize::new(0),
            latency: Latency::default(),
            asking: weft_watch::Sender::new(0),
        }
    }

    /// The map in use.
    pub(crate) fn view(&self) -> Arc<MapView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a newer map over. Returns whether it is newer.
    pub(crate) fn install(&self, map: ClusterMap) -> bool {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let (version, newer) = (map.version, map.version > view.version());
        if newer {
            *view = Arc::new(MapView::new(map));
            drop(view);
            self.changed.send_replace(version);
        }
        newer
    }

    /// Tells of every newer map.
    pub(crate) fn subscribe(&self) -> weft_watch::Receiver<MapVersion> {
        self.changed.subscribe()
    }

    /// Something waits for a newer map until the value is dropped.
    pub(crate) fn ask(self: &Arc<Self>) -> Asking {
        self.asking.send_modify(|count| *count += 1);
        Asking(Arc::clone(self))
    }

    /// Tells how many wait for a newer map.
    pub(crate) fn wanted(&self) -> weft_watch::Receiver<usize> {
        self.asking.subscribe()
    }

    /// Whether to turn to other drives first.
    pub(crate) fn avoids(&self, view: &MapView, drive: DriveId) -> bool {
        let serves = matches!(view.states.get(&drive), Some(DriveState::Up | DriveState::Draining));
        !serves || self.suspicions().get(&drive).is_some_and(|suspicion| suspicion.until > Instant::now())
    }

    /// A drive did not answer, or its device failed.
    pub(crate) fn suspect(&self, drive: DriveId) {
        let now = Instant::now();
        let mut suspicions = self.suspicions();
        let suspicion = suspicions.entry(drive).or_insert(Suspicion { until: now, pause: AVOIDED_MIN / 2 });
        // Calls that failed together are one failure.
        if suspicion.until <= now {
            suspicion.pause = (suspicion.pause * 2).min(AVOIDED_MAX);
            suspicion.until = now + suspicion.pause;
        }
    }

    /// A drive took longer than others do.
    pub(crate) fn late(&self, drive: DriveId) {
        let now = Instant::now();
        let fresh = Suspicion { until: now + LATE, pause: AVOIDED_MIN / 2 };
        self.suspicions().entry(drive).or_insert(fresh);
    }

    /// A drive answered.
    pub(crate) fn trust(&self, drive: DriveId) {
        let mut suspicions = self.suspicions();
        if suspicions.get(&drive).is_some_and(|suspicion| suspicion.until <= Instant::now()) {
            suspicions.remove(&drive);
        }
    }

    /// A group for a new extent: in turn among those whose drives all take shards, else among those whose drives are
    /// all up by the map, else among all. `None` when there is none but `without`.
    pub(crate) fn choose_group(&self, without: &[GroupId]) -> Option<PlacementGroup> {
        let view = self.view();
        let groups: Vec<_> = view.map.groups.iter().filter(|group| !without.contains(&group.id)).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..groups.len()).map(|step| groups[turn.wrapping_add(step) % groups.len()]);
        let first = in_turn.clone().next();
        let up = in_turn.clone().find(|group| view.is_up(group));
        in_turn.find(|group| self.is_whole(&view, group)).or(up).or(first).cloned()
    }

    /// A group for an extent that cannot be put to `group`: another one whose drives all take shards.
    pub(crate) fn choose_instead(&self, group: GroupId) -> Option<PlacementGroup> {
        let view = self.view();
        self.choose_group(&[group]).filter(|other| self.is_whole(&view, other))
    }

    /// Whether the group is as the map says, and all its drives take shards.
    pub(crate) fn is_whole_now(&self, group: &PlacementGroup) -> bool {
        let view = self.view();
        view.group(group.id).is_some_and(|now| now.epoch == group.epoch) && self.is_whole(&view, group)
    }

    fn is_whole(&self, view: &MapView, group: &PlacementGroup) -> bool {
        group.members.iter().all(|drive| self.takes_shards(view, *drive))
    }

    fn takes_shards(&self, view: &MapView, drive: DriveId) -> bool {
        view.states.get(&drive) == Some(&DriveState::Up) && !self.avoids(view, drive)
    }

    fn suspicions(&self) -> MutexGuard<'_, HashMap<DriveId, Suspicion>> {
        self.suspicions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
