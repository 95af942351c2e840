//! Who was heard of, and when. Pure: time is how long management has run, and an argument.

use core::time::Duration;
use std::collections::BTreeMap;

use weft_layout::{ClusterMap, DriveEntry, DriveState};
use weft_types::{ByteCount, DriveId, NodeId, Role};
use weft_wire::management::{FrontendReport, Heartbeat, HeartbeatRefusal, NodeReport};

/// A node that was silent for longer is down. With a heartbeat every second and a look every [`LOOK_EVERY`], a
/// process that died is seen within five seconds, and three lost heartbeats are still forgiven.
pub const SILENCE_MAX: Duration = Duration::from_millis(4500);
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

    /// The drives whose state in the map is no longer true, with the true one.
    ///
    /// A drive that was not heard of yet keeps its state for as long as one that fell silent when management started.
    /// A drive that is being emptied stays so.
    pub(crate) fn changed_drives(&self, map: &ClusterMap, now: Duration) -> Vec<(DriveId, DriveState)> {
        let state = |drive: &DriveEntry| match (drive.state, self.of(drive.node)) {
            (DriveState::Draining, _) => DriveState::Draining,
            (state, None) if now <= SILENCE_MAX => state,
            (_, heard) if is_up(heard.map(|heard| heard.at), now) => DriveState::Up,
            _ => DriveState::Down,
        };
        let states = map.drives.iter().map(|drive| (drive, state(drive)));
        states
            .filter(|(drive, state)| drive.state != *state)
            .map(|(drive, state)| (drive.id, state))
            .collect()
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
