//! The cluster map in use, and what this mount itself has seen of the drives.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::time::Instant;
use weft_layout::{ClusterMap, DriveState, GroupSlot, PlacementGroup, Protection};
use weft_types::{DriveId, GroupId, MapVersion};

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

    /// Who may hold a group's slot: the member, then earlier ones, the newest first.
    pub(crate) fn holders(&self, group: GroupId, slot: GroupSlot) -> Vec<DriveId> {
        let Some(group) = self.group(group) else { return Vec::new() };
        let lists =
            core::iter::once(&group.members).chain(group.history.iter().map(|earlier| &earlier.members));
        let mut holders = Vec::new();
        for drive in lists.filter_map(|members| members.get(slot.get())) {
            if !holders.contains(drive) {
                holders.push(*drive);
            }
        }
        holders
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
}

impl Cluster {
    pub(crate) fn new(map: ClusterMap) -> Self {
        Self {
            view: RwLock::new(Arc::new(MapView::new(map))),
            suspicions: Mutex::default(),
            turn: AtomicUsize::new(0),
            latency: Latency::default(),
        }
    }

    /// The map in use.
    pub(crate) fn view(&self) -> Arc<MapView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a newer map over. Returns whether it is newer.
    pub(crate) fn install(&self, map: ClusterMap) -> bool {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let newer = map.version > view.version();
        if newer {
            *view = Arc::new(MapView::new(map));
        }
        newer
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

    /// A group for a new extent: in turn among those whose drives all take shards, else among all.
    pub(crate) fn choose_group(&self) -> Option<PlacementGroup> {
        let view = self.view();
        let groups = &view.map.groups;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..groups.len()).map(|step| &groups[turn.wrapping_add(step) % groups.len()]);
        let first = in_turn.clone().next();
        in_turn.find(|group| self.is_whole(&view, group)).or(first).cloned()
    }

    /// The group to go on with after a failure: another one only when that is whole and this one is not.
    pub(crate) fn choose_again(&self, group: GroupId) -> Option<PlacementGroup> {
        let view = self.view();
        let Some(same) = view.group(group) else { return self.choose_group() };
        if self.is_whole(&view, same) {
            return Some(same.clone());
        }
        let other = self.choose_group().filter(|other| self.is_whole(&view, other));
        other.or_else(|| Some(same.clone()))
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
