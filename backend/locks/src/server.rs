//! Requests of sessions, each carried out once.

use std::collections::BTreeMap;

use weft_types::{LockMode, LockRange, SessionId, SlotId, SlotSeq};
use weft_wire::locks::{HeldLock, Lock, LockConflict, LockOp, LockOutcome, LockRefusal, Locked};

use crate::Reclaims;
use crate::table::{Holder, Place, Table, Ticket, Verdict, Want};

/// What a request came to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is answered.
    Answer(Locked),
    /// It waits for a lock. Ask again once it is among [`LockServer::take_woken`], or answer it with
    /// [`LockServer::waiting`] after a while.
    Waits,
    /// Nothing was done, since sessions have not told yet what they hold. Ask again when all have, or answer as to one that
    /// waits.
    TooEarly,
    /// It is refused.
    Refused(LockRefusal),
}

/// The last request in a slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: SlotSeq,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Answered(Locked),
    Waits {
        ticket: Ticket,
        /// It was asked for since the last sweep.
        asked: bool,
    },
}

/// The locks of a filesystem as its owner serves them.
#[derive(Debug, Default)]
pub struct LockServer {
    table: Table,
    slots: BTreeMap<SessionId, BTreeMap<SlotId, Slot>>,
    /// Who drew the tickets of those that wait.
    drawers: BTreeMap<Ticket, (SessionId, SlotId)>,
    /// Requests that took effect.
    at: u64,
    woken: Vec<(SessionId, SlotId)>,
}

impl LockServer {
    /// Carries out a request, or says how it stands. The session is open, and the caller's.
    pub fn ask(&mut self, call: &Lock, reclaims: &Reclaims) -> Asked {
        if let Err(refusal) = reclaims.check(call.session, call.epoch) {
            return Asked::Refused(refusal);
        }
        if let Some(known) = self.known(call) {
            return known;
        }
        if !reclaims.is_over() && matches!(call.op, LockOp::Test { .. } | LockOp::Set { .. }) {
            return Asked::TooEarly;
        }
        let carried_out = self.carry_out(call);
        self.note_granted();
        match carried_out {
            Ok(answer) => self.answered(call, answer),
            Err(ticket) => {
                self.drawers.insert(ticket, (call.session, call.slot));
                self.put(call.session, call.slot, call.seq, State::Waits { ticket, asked: true });
                Asked::Waits
            }
        }
    }

    /// The answer to a request that waits on.
    pub const fn waiting(&self) -> Locked {
        Locked { at: self.at, outcome: LockOutcome::Waiting {} }
    }

    /// Requests that waited and are answered by now, since this was asked last.
    pub fn take_woken(&mut self) -> Vec<(SessionId, SlotId)> {
        core::mem::take(&mut self.woken)
    }

    /// Inserts locks of a session that has to tell what it holds. Answers those that cannot be: another one's excludes them,
    /// or there are too many.
    pub fn reclaim(&mut self, session: SessionId, locks: &[HeldLock]) -> Vec<HeldLock> {
        let refused = |lock: &&HeldLock| {
            let place = Place { inode: lock.inode, kind: lock.kind };
            let holder = Holder { session, owner: lock.owner };
            let want = Want { range: lock.range, mode: lock.mode, pid: lock.pid };
            !self.table.is_free(place, holder, want)
                || self.table.set(place, holder, want, false) != Verdict::Granted
        };
        locks.iter().filter(refused).copied().collect()
    }

    /// A session is over, and with it all of its locks and requests.
    pub fn end_session(&mut self, session: SessionId) {
        for slot in self.slots.remove(&session).into_iter().flat_map(BTreeMap::into_values) {
            if let State::Waits { ticket, .. } = slot.state {
                self.drawers.remove(&ticket);
            }
        }
        self.table.release_session(session);
        self.at += 1;
        self.note_granted();
    }

    /// Lets those leave their queues who wait and have not asked since the last sweep.
    pub fn sweep(&mut self) {
        let mut left = Vec::new();
        for (session, slots) in &mut self.slots {
            for (id, slot) in slots {
                match &mut slot.state {
                    State::Waits { asked, .. } if *asked => *asked = false,
                    State::Waits { .. } => left.push((*session, *id, slot.seq)),
                    State::Answered(_) => {}
                }
            }
        }
        for (session, id, seq) in left {
            self.cancel(session, id, seq);
        }
    }

    /// The locks.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// How a request stands that is known already, or was overtaken.
    fn known(&mut self, call: &Lock) -> Option<Asked> {
        let slot = self.slots.get_mut(&call.session)?.get_mut(&call.slot)?;
        if slot.seq > call.seq {
            return Some(Asked::Refused(LockRefusal::Overtaken));
        }
        if slot.seq < call.seq {
            return None;
        }
        Some(match &mut slot.state {
            State::Answered(answer) => Asked::Answer(*answer),
            State::Waits { asked, .. } => {
                *asked = true;
                Asked::Waits
            }
        })
    }

    fn carry_out(&mut self, call: &Lock) -> Result<Locked, Ticket> {
        self.at += 1;
        let at = self.at;
        let place = Place { inode: call.inode, kind: call.kind };
        let holder = Holder { session: call.session, owner: call.owner };
        let outcome = match call.op {
            LockOp::Test { range, mode } => match self.conflict(place, holder, range, mode) {
                None => LockOutcome::Done {},
                Some(with) => LockOutcome::Conflict { with },
            },
            LockOp::Set { range, mode, pid, wait } => {
                match self.table.set(place, holder, Want { range, mode, pid }, wait) {
                    Verdict::Granted => LockOutcome::Done {},
                    Verdict::WouldBlock => LockOutcome::WouldBlock {},
                    Verdict::Waits(ticket) => return Err(ticket),
                    Verdict::Deadlock => LockOutcome::Deadlock {},
                    Verdict::TooMany => LockOutcome::TooMany {},
                }
            }
            LockOp::Unlock { range } => match self.table.unlock(place, holder, range) {
                Ok(()) => LockOutcome::Done {},
                Err(_) => LockOutcome::TooMany {},
            },
            LockOp::Release {} => {
                self.table.release(place, holder);
                LockOutcome::Done {}
            }
            LockOp::Cancel { slot, seq } => return Ok(self.cancel(call.session, slot, seq)),
        };
        Ok(Locked { at, outcome })
    }

    fn conflict(
        &self,
        place: Place,
        holder: Holder,
        range: LockRange,
        mode: LockMode,
    ) -> Option<LockConflict> {
        let (other, region) = self.table.test(place, holder, range, mode)?;
        Some(LockConflict { range: region.range, mode: region.mode, pid: region.pid, session: other.session })
    }

    /// Takes a request back; answers what it came to.
    fn cancel(&mut self, session: SessionId, id: SlotId, seq: SlotSeq) -> Locked {
        let known = self.slots.get(&session).and_then(|slots| slots.get(&id)).copied();
        if let Some(Slot { seq: known, state: State::Answered(answer) }) = known
            && known == seq
        {
            return answer;
        }
        let cancelled = Locked { at: self.at, outcome: LockOutcome::Cancelled {} };
        if known.is_none_or(|slot| slot.seq <= seq) {
            // Should it come late, it finds this answer.
            self.put(session, id, seq, State::Answered(cancelled));
            self.woken.push((session, id));
        }
        cancelled
    }

    fn answered(&mut self, call: &Lock, answer: Locked) -> Asked {
        self.put(call.session, call.slot, call.seq, State::Answered(answer));
        Asked::Answer(answer)
    }

    fn put(&mut self, session: SessionId, id: SlotId, seq: SlotSeq, state: State) {
        let before = self.slots.entry(session).or_default().insert(id, Slot { seq, state });
        // Who uses a slot again does not wait for what was there.
        if let Some(Slot { state: State::Waits { ticket, .. }, .. }) = before {
            self.drawers.remove(&ticket);
            self.table.cancel(ticket);
        }
    }

    fn note_granted(&mut self) {
        for ticket in self.table.take_granted() {
            self.at += 1;
            let Some((session, id)) = self.drawers.remove(&ticket) else { continue };
            let slot = self.slots.get_mut(&session).and_then(|slots| slots.get_mut(&id));
            if let Some(slot) = slot {
                slot.state = State::Answered(Locked { at: self.at, outcome: LockOutcome::Done {} });
            }
            self.woken.push((session, id));
        }
    }
}
