//! Who was heard of, and when. Pure: time is how long management has run, and an argument.

use core::time::Duration;
use std::collections::BTreeMap;

use weft_layout::{ClusterMap, DriveEntry, DriveState};
use weft_types::{ByteCount, DriveId, NodeId, Role};
use weft_wire::management::{FrontendReport, Heartbeat, HeartbeatRefusal, NodeReport};

/// A node that was silent for longer is down. With a heartbeat every second and a look every [`LOOK_EVERY`], a
/// process that died is seen within five seconds, and three lost heartbeats are still forgiven.
pub const SILENCE_MAX: Duration = Duration::from_millis(4500);
/// While one drive goes down, those that were silent for longer than this go with it: what dies together makes one map.
const SILENCE_TOGETHER: Duration = Duration::from_millis(3250);
/// A drive that was up when management started may take so long to be heard of: drives start one after the other.
const START_GRACE: Duration = Duration::from_secs(10);
/// How often states are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most frontends that are remembered; beyond it, those silent for longest are forgotten, their counters with them.
const FRONTENDS_MAX: usize = 1024;
/// Longest text of a heartbeat that is kept, in bytes: what others say must not fill the memory, nor the answer to
/// who asks for the status.
const TEXT_BYTES_MAX: usize = 256;

/// Parts of a drive in which its filling is counted.
const WHOLE: u64 = 1 << 20;

/// Whether a node last heard of then is up now.
pub(crate) fn is_up(last_heard: Option<Duration>, now: Duration) -> bool {
    last_heard.is_some_and(|heard| now.saturating_sub(heard) <= SILENCE_MAX)
}

/// What is known of a node by its heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When it was last heard of.
    pub at: Duration,
    /// The role in its certificate.
    pub role: Role,
    /// What it said last; a frontend's counters include [`earlier`](Self::earlier).
    pub last: Heartbeat,
    /// What earlier processes of the same frontend counted.
    earlier: Counters,
}

/// A frontend's counters, as far as they outlast its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    reconstructions: u64,
    damaged: u64,
    unreadable: u64,
}

/// Who speaks: a node, and of a frontend the container too, since the mounts of a host share one identity.
type Speaker = (NodeId, String);

/// Everyone who was heard of since management started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Membership {
    heard: BTreeMap<Speaker, Heard>,
}

impl Membership {
    /// Takes a heartbeat of a peer whose certificate names this node and role.
    ///
    /// # Errors
    /// [`HeartbeatRefusal`]: the peer speaks for somebody else, or for a drive that the map does not have so.
    pub(crate) fn hear(
        &mut self,
        now: Duration,
        map: &ClusterMap,
        (node, role): (NodeId, Role),
        heartbeat: Heartbeat,
    ) -> Result<(), HeartbeatRefusal> {
        check(map, (node, role), &heartbeat)?;
        let mut last = heartbeat;
        cut_texts(&mut last);
        let container = if role == Role::Frontend { last.container.clone() } else { String::new() };
        let speaker = (node, container);
        let earlier = self.heard.get(&speaker).map(|heard| heard.carried_over(&last)).unwrap_or_default();
        if let NodeReport::Frontend(report) = &mut last.report {
            earlier.add_to(report);
        }
        self.heard.insert(speaker, Heard { at: now, role, last, earlier });
        self.forget_frontends(FRONTENDS_MAX);
        Ok(())
    }

    /// What is known of a node that is no frontend; `None` when it was never heard of.
    pub(crate) fn of(&self, node: NodeId) -> Option<&Heard> {
        self.heard.get(&(node, String::new()))
    }

    /// The frontends that were heard of, gone ones too.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = (NodeId, &Heard)> {
        self.heard
            .iter()
            .filter(|(_, heard)| heard.role == Role::Frontend)
            .map(|((node, _), heard)| (*node, heard))
    }

    /// The drives whose state in the map is no longer true, with the true one: those that fell silent are down, those
    /// that were down and speak return.
    ///
    /// A drive that was not heard of yet keeps its state for [`START_GRACE`]. A drive that is being emptied stays so.
    pub(crate) fn changed_drives(&self, map: &ClusterMap, now: Duration) -> Vec<(DriveId, DriveState)> {
        let silence = |drive: &DriveEntry| self.of(drive.node).map(|heard| now.saturating_sub(heard.at));
        let is_down = |drive: &DriveEntry, max: Duration| match silence(drive) {
            None => now > START_GRACE,
            Some(silence) => silence > max,
        };
        let counted = |drive: &&DriveEntry| matches!(drive.state, DriveState::Up | DriveState::Returning);
        let someone_fell = map.drives.iter().filter(counted).any(|drive| is_down(drive, SILENCE_MAX));
        let max = if someone_fell { SILENCE_TOGETHER } else { SILENCE_MAX };
        let state = |drive: &DriveEntry| match drive.state {
            DriveState::Up | DriveState::Returning if is_down(drive, max) => DriveState::Down,
            DriveState::Down if silence(drive).is_some_and(|silence| silence <= SILENCE_TOGETHER) => {
                DriveState::Returning
            }
            state => state,
        };
        let states = map.drives.iter().map(|drive| (drive, state(drive)));
        states
            .filter(|(drive, state)| drive.state != *state)
            .map(|(drive, state)| (drive.id, state))
            .collect()
    }

    /// Whether any drive has said how full it is since management started.
    pub(crate) fn has_heard_of_drives(&self, map: &ClusterMap) -> bool {
        let reports = map.drives.iter().filter_map(|drive| self.of(drive.node));
        reports.into_iter().any(|heard| matches!(heard.last.report, NodeReport::Drive(_)))
    }

    /// What shards can occupy on all drives together, and what they occupy.
    ///
    /// A drive that was not heard of since management started is taken to be as full as the fullest of the others:
    /// stripes fill drives alike, and room must not be promised where there may be none.
    pub(crate) fn raw_space(&self, map: &ClusterMap) -> (ByteCount, ByteCount) {
        let report = |drive: &DriveEntry| match &self.of(drive.node)?.last.report {
            NodeReport::Drive(report) => Some((report.capacity.get(), report.used.get())),
            _ => None,
        };
        let (mut capacity, mut used) = (0_u64, 0_u64);
        let fullest = map.drives.iter().filter_map(report).map(fill_of).max().unwrap_or(0);
        for drive in &map.drives {
            let of_drive = report(drive).unwrap_or_else(|| {
                let used = u128::from(drive.capacity.get()) * u128::from(fullest) / u128::from(WHOLE);
                (drive.capacity.get(), u64::try_from(used).unwrap_or(u64::MAX))
            });
            capacity = capacity.saturating_add(of_drive.0);
            used = used.saturating_add(of_drive.1);
        }
        (ByteCount::new(capacity), ByteCount::new(used))
    }

    /// Bytes of shards that can be written now, by the room on each drive that is up and its part in the groups: the
    /// first drive that is full ends it. `None` while not one of them was heard of.
    pub(crate) fn raw_writable(&self, map: &ClusterMap) -> Option<ByteCount> {
        let mut slots: BTreeMap<DriveId, u128> = BTreeMap::new();
        for member in map.groups.iter().flat_map(|group| &group.members) {
            *slots.entry(*member).or_default() += 1;
        }
        let all = slots.values().sum::<u128>();
        let room = |drive: &DriveEntry| {
            let held = *slots.get(&drive.id)?;
            match &self.of(drive.node).filter(|_| drive.state == DriveState::Up)?.last.report {
                NodeReport::Drive(report) => Some(u128::from(report.writable.get()) * all / held),
                _ => None,
            }
        };
        let least = map.drives.iter().filter_map(room).min()?;
        Some(ByteCount::new(u64::try_from(least).unwrap_or(u64::MAX)))
    }

    fn forget_frontends(&mut self, max: usize) {
        if self.heard.len() <= max {
            return;
        }
        while self.frontends().count() > max {
            let frontends = self.heard.iter().filter(|(_, heard)| heard.role == Role::Frontend);
            let oldest = frontends.min_by_key(|(_, heard)| heard.at).map(|(speaker, _)| speaker.clone());
            oldest.and_then(|speaker| self.heard.remove(&speaker));
        }
    }
}

impl Heard {
    /// The counters to start from when this node is heard of again: those of its earlier processes, and, when another
    /// process speaks now, those of the last one.
    fn carried_over(&self, next: &Heartbeat) -> Counters {
        match &self.last.report {
            _ if (next.pid, next.started) == (self.last.pid, self.last.started) => self.earlier,
            // The last report has the earlier counters in it already.
            NodeReport::Frontend(report) => Counters {
                reconstructions: report.reconstructions,
                damaged: report.damaged,
                unreadable: report.unreadable,
            },
            _ => self.earlier,
        }
    }
}

impl Counters {
    fn add_to(self, report: &mut FrontendReport) {
        report.reconstructions = report.reconstructions.saturating_add(self.reconstructions);
        report.damaged = report.damaged.saturating_add(self.damaged);
        report.unreadable = report.unreadable.saturating_add(self.unreadable);
    }
}

/// How full a drive of this capacity and use is, in parts of [`WHOLE`], rounded up.
fn fill_of((capacity, used): (u64, u64)) -> u64 {
    let fill = (u128::from(used) * u128::from(WHOLE)).div_ceil(u128::from(capacity.max(1)));
    u64::try_from(fill).unwrap_or(WHOLE).min(WHOLE)
}

fn cut_texts(heartbeat: &mut Heartbeat) {
    let cut = |text: &mut String| text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    cut(&mut heartbeat.container);
    let warning = match &mut heartbeat.report {
        NodeReport::Drive(report) => &mut report.warning,
        NodeReport::Compute(report) => &mut report.warning,
        NodeReport::Frontend(report) => {
            cut(&mut report.filesystem);
            cut(&mut report.mount);
            &mut report.warning
        }
    };
    warning.iter_mut().for_each(cut);
}

fn check(
    map: &ClusterMap,
    (node, role): (NodeId, Role),
    heartbeat: &Heartbeat,
) -> Result<(), HeartbeatRefusal> {
    if heartbeat.node != node {
        return Err(HeartbeatRefusal::NotYours);
    }
    match (role, &heartbeat.report) {
        (Role::Compute, NodeReport::Compute(_)) | (Role::Frontend, NodeReport::Frontend(_)) => Ok(()),
        (Role::Drive, NodeReport::Drive(report)) => {
            let entry = map.drive(report.drive).ok_or(HeartbeatRefusal::UnknownDrive)?;
            if entry.node != node {
                return Err(HeartbeatRefusal::NotYours);
            }
            let known = entry.incarnation == report.incarnation;
            if known { Ok(()) } else { Err(HeartbeatRefusal::UnknownDrive) }
        }
        _ => Err(HeartbeatRefusal::NotYours),
    }
}

#[cfg(test)]
mod tests;
