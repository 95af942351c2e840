//! The shards of one extent on their way to the members of a group that may change meanwhile.
//!
//! What a drive has acknowledged stays acknowledged. When the group gets other members, only shards whose holder is
//! another one are sent again, as the same bytes under the same id: puts are idempotent.

use core::time::Duration;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use weft_layout::PlacementGroup;
use weft_types::{DriveId, GroupId, ShardIndex};
use weft_wire::drive::{PutRefusal, PutShard, ShardStored};

use super::Stored;
use crate::backend::Failure;
use crate::cluster::Asking;
use crate::{Core, FsError};

/// One attempt to store a shard.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A put that takes longer may be one to a drive that another map has replaced.
const LATE: Duration = Duration::from_secs(1);
/// A group with a member that takes nothing is given so long for another membership; then another group takes the
/// extent, when there is one that is whole. Longer than it takes to find out that a drive is down.
const PATIENCE: Duration = Duration::from_secs(8);
/// After this an extent's bytes go back to the dirty ones.
const GIVE_UP: Duration = Duration::from_secs(25);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// So many groups with a full drive are believed.
const FULL_GROUPS_MAX: usize = 3;

/// A shard and what is done about it.
#[derive(Debug)]
struct Shard {
    index: ShardIndex,
    holder: DriveId,
    state: State,
    pause: Duration,
}

#[derive(Debug)]
enum State {
    /// To be put then.
    Waiting(Instant),
    Asked {
        since: Instant,
        call: AbortHandle,
    },
    /// Its holder has it.
    Stored,
}

struct Put {
    index: ShardIndex,
    drive: DriveId,
    outcome: Result<ShardStored, Failure<PutRefusal>>,
}

/// An extent that is being stored.
pub(super) struct Placing<'a> {
    core: &'a Arc<Core>,
    stored: &'a mut Stored,
    shards: Vec<Shard>,
    puts: JoinSet<Put>,
    /// Groups that had no room.
    full: Vec<GroupId>,
    begun: Instant,
    /// Since when the present group makes trouble.
    trouble: Option<Instant>,
    asking: Option<Asking>,
    error: FsError,
}

impl<'a> Placing<'a> {
    pub(super) fn new(core: &'a Arc<Core>, stored: &'a mut Stored, group: PlacementGroup) -> Self {
        let mut placing = Self {
            core,
            stored,
            shards: Vec::new(),
            puts: JoinSet::new(),
            full: Vec::new(),
            begun: Instant::now(),
            trouble: None,
            asking: None,
            error: FsError::TimedOut,
        };
        placing.aim_at(&group);
        placing
    }

    /// Until every shard is with the member that holds it, as of the map in use then.
    pub(super) async fn run(mut self) -> Result<(), FsError> {
        let mut map = self.core.cluster.subscribe();
        let (session, opened) = (Arc::clone(&self.core.session), self.stored.extent.session);
        loop {
            map.mark_unchanged();
            self.follow_map();
            if self.is_blocked() {
                self.error = FsError::Unreachable;
                self.is_in_trouble();
            } else {
                self.send_what_is_due();
            }
            if self.shards.iter().all(|shard| matches!(shard.state, State::Stored)) {
                return Ok(());
            }
            let wake = self.next_event();
            tokio::select! {
                biased;
                () = session.over(opened) => return Err(FsError::SessionEnded),
                Some(put) = self.puts.join_next() => match put {
                    Ok(put) => self.answered(put)?,
                    // It was abandoned; nothing else ends a put early but the end of the runtime.
                    Err(error) if error.is_cancelled() => {}
                    Err(_) => return Err(FsError::SessionEnded),
                },
                // The sender lives as long as the core.
                _ = map.changed() => {}
                () = sleep_until(wake) => self.woke()?,
            }
        }
    }

    /// From now on the extent belongs to this membership. What is under way to others is abandoned.
    fn aim_at(&mut self, group: &PlacementGroup) {
        (self.stored.group, self.stored.epoch) = (group.id, group.epoch);
        self.trouble = None;
        let now = Instant::now();
        let mut before = core::mem::take(&mut self.shards);
        for (index, slot) in self.stored.sealed.geometry.holders(self.stored.extent.seq) {
            // A map is checked to name as many members as the code has shards.
            let Some(holder) = group.members.get(slot.get()).copied() else { continue };
            let same = before.iter().position(|shard| shard.index == index && shard.holder == holder);
            let shard = same.map(|at| before.swap_remove(at)).unwrap_or_else(|| {
                let acknowledged = self.stored.acks.contains(&(index, holder));
                let state = if acknowledged { State::Stored } else { State::Waiting(now) };
                Shard { index, holder, state, pause: PAUSE_MIN }
            });
            self.shards.push(shard);
        }
        for moved in before {
            if let State::Asked { call, .. } = moved.state {
                call.abort();
            }
        }
    }

    /// The group may have other members, or be gone.
    fn follow_map(&mut self) {
        let view = self.core.cluster.view();
        match view.group(self.stored.group) {
            Some(group) if group.epoch > self.stored.epoch => self.aim_at(group),
            Some(_) => {}
            None => {
                if let Some(other) = self.core.cluster.choose_group(&self.full) {
                    self.aim_at(&other);
                }
            }
        }
    }

    /// Whether the map says of a drive that it is down which has not stored its shard. Until that changes the extent
    /// cannot be committed, and the room that its other shards take would come back only with the session's end: each
    /// time that it is tried anew, it is another extent.
    fn is_blocked(&self) -> bool {
        let view = self.core.cluster.view();
        self.shards.iter().any(|shard| !matches!(shard.state, State::Stored) && view.is_down(shard.holder))
    }

    fn send_what_is_due(&mut self) {
        let now = Instant::now();
        for shard in &mut self.shards {
            if !matches!(shard.state, State::Waiting(at) if at <= now) {
                continue;
            }
            let (index, drive) = (shard.index, shard.holder);
            let call = PutShard { header: self.stored.header(self.core, index) };
            let bytes = self.stored.sealed.shards[index.get()].clone();
            let grants = Arc::clone(&self.core.grants);
            let put = async move {
                let outcome = grants.put(drive, call, bytes, ATTEMPT).await;
                Put { index, drive, outcome }
            };
            shard.state = State::Asked { since: now, call: self.puts.spawn(put) };
        }
    }

    fn answered(&mut self, put: Put) -> Result<(), FsError> {
        let Put { index, drive, outcome } = put;
        let cluster = &self.core.cluster;
        let failure = match outcome {
            Ok(_) => {
                cluster.trust(drive);
                self.stored.acks.push((index, drive));
                if let Some(shard) = self.shard(index, drive) {
                    shard.state = State::Stored;
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        tracing::debug!(%drive, extent = %self.stored.extent, %index, ?failure, "a shard was not stored");
        if is_the_drives_fault(&failure) {
            cluster.suspect(drive);
        }
        let Some(shard) = self.shard(index, drive) else { return Ok(()) };
        shard.state = State::Waiting(Instant::now() + shard.pause);
        shard.pause = (shard.pause * 2).min(PAUSE_MAX);
        match verdict(&failure) {
            Verdict::Wait(error) => {
                self.error = error;
                self.is_in_trouble();
                Ok(())
            }
            Verdict::Full => self.turn_elsewhere(),
            Verdict::SessionClosed => {
                self.core.session.end(self.stored.extent.session);
                Err(FsError::SessionEnded)
            }
            Verdict::Wrong => Err(FsError::Protocol),
        }
    }

    /// A member has no room: another group may have.
    fn turn_elsewhere(&mut self) -> Result<(), FsError> {
        self.full.push(self.stored.group);
        let other = self.core.cluster.choose_group(&self.full);
        match other.filter(|_| self.full.len() < FULL_GROUPS_MAX) {
            Some(group) => self.aim_at(&group),
            None => return Err(FsError::NoSpace),
        }
        Ok(())
    }

    /// A member does not do what it should: the next map may have another one.
    fn is_in_trouble(&mut self) {
        self.trouble.get_or_insert_with(Instant::now);
        self.asking.get_or_insert_with(|| self.core.cluster.ask());
    }

    /// The time has come for something.
    fn woke(&mut self) -> Result<(), FsError> {
        let now = Instant::now();
        if now >= self.begun + GIVE_UP {
            return Err(self.error);
        }
        let late = |shard: &Shard| matches!(shard.state, State::Asked { since, .. } if now >= since + LATE);
        if self.shards.iter().any(late) {
            self.is_in_trouble();
        }
        if self.trouble.is_some_and(|since| now >= since + PATIENCE) {
            let other = self.core.cluster.choose_instead(self.stored.group);
            match other {
                Some(group) => self.aim_at(&group),
                None => self.trouble = Some(now),
            }
        }
        Ok(())
    }

    /// When something is to be done even if nothing happens.
    fn next_event(&self) -> Instant {
        let waiting_for_trouble = self.asking.is_none() || self.trouble.is_none();
        let blocked = self.is_blocked();
        let shards = self.shards.iter().filter_map(|shard| match shard.state {
            State::Waiting(at) if !blocked => Some(at),
            State::Asked { since, .. } if waiting_for_trouble => Some(since + LATE),
            _ => None,
        });
        let patience = self.trouble.map(|since| since + PATIENCE);
        shards.chain(patience).chain([self.begun + GIVE_UP]).min().unwrap_or(self.begun + GIVE_UP)
    }

    fn shard(&mut self, index: ShardIndex, holder: DriveId) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|shard| shard.index == index && shard.holder == holder)
    }
}

/// Whether a drive that answers so had better be left alone for a while.
pub(super) const fn is_the_drives_fault(failure: &Failure<PutRefusal>) -> bool {
    !matches!(failure, Failure::Busy | Failure::Refused(PutRefusal::NoSpace | PutRefusal::NotGranted))
}

/// What a failed put means for the extent.
enum Verdict {
    /// The same is tried again; when that goes on, this is why.
    Wait(FsError),
    Full,
    SessionClosed,
    /// The same would fail again.
    Wrong,
}

const fn verdict(failure: &Failure<PutRefusal>) -> Verdict {
    match failure {
        Failure::TimedOut => Verdict::Wait(FsError::TimedOut),
        Failure::Busy
        | Failure::Unreachable
        | Failure::Refused(PutRefusal::Device | PutRefusal::NotGranted) => {
            Verdict::Wait(FsError::Unreachable)
        }
        // A drive of another version, or not the one of the map: the next map may have the right one.
        Failure::Broken => Verdict::Wait(FsError::Protocol),
        Failure::Refused(PutRefusal::NoSpace) => Verdict::Full,
        Failure::Refused(PutRefusal::SessionClosed) => Verdict::SessionClosed,
        Failure::Refused(PutRefusal::Conflict | PutRefusal::DigestMismatch | PutRefusal::Malformed) => {
            Verdict::Wrong
        }
    }
}
