//! The locks of a filesystem.

use std::collections::{BTreeMap, BTreeSet};

use weft_layout::Region;
use weft_types::{Inode, LockKind, LockMode, LockOwner, LockRange, SessionId};

use crate::file::File;

/// Locks that one session may hold.
pub const LOCKS_PER_SESSION_MAX: usize = 1 << 16;
/// Locks that are held of a filesystem at most.
pub const LOCKS_MAX: usize = 1 << 18;
/// Requests of one session that wait.
pub const WAITS_PER_SESSION_MAX: usize = 4096;

/// Who holds locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Through which mount.
    pub session: SessionId,
    /// On whose behalf there.
    pub owner: LockOwner,
}

impl Holder {
    /// All holders of a session.
    pub(crate) const fn of(session: SessionId) -> core::ops::RangeInclusive<Self> {
        let first = Self { session, owner: LockOwner::new(0) };
        first..=Self { session, owner: LockOwner::new(u64::MAX) }
    }
}

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which file.
    pub inode: Inode,
    /// By which locks.
    pub kind: LockKind,
}

/// A lock as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Which bytes; of a `flock` always [`LockRange::WHOLE`], whatever is said.
    pub range: LockRange,
    /// In which mode.
    pub mode: LockMode,
    /// By which process.
    pub pid: u32,
}

/// A place in a queue. Tickets rise in the order in which they were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What became of a request for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is held.
    Granted,
    /// Another one is in the way. A `flock` that was to be converted is lost.
    WouldBlock,
    /// It waits. A `flock` that was to be converted is lost.
    Waits(Ticket),
    /// It would wait for one who waits for its holder.
    Deadlock,
    /// There are too many locks.
    TooMany,
}

/// A request that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) place: Place,
    pub(crate) holder: Holder,
    pub(crate) want: Want,
}

/// Who holds which locks, and who waits.
///
/// A request is granted as soon as no lock that is held is in its way, also past others that wait: that is what `fcntl`
/// says, and were it otherwise, who waits for one that waits its turn could not be told from a deadlock. Of those that
/// wait, the one that came first is granted first.
#[derive(Debug, Default)]
pub struct Table {
    pub(crate) files: BTreeMap<Place, File>,
    /// Where holders have locks.
    places: BTreeMap<Holder, BTreeSet<Place>>,
    pub(crate) waits: BTreeMap<Ticket, Wait>,
    /// What holders wait for.
    pub(crate) waiting: BTreeMap<Holder, BTreeSet<Ticket>>,
    counts: BTreeMap<SessionId, Count>,
    locks: usize,
    /// Tickets drawn.
    drawn: u64,
    /// Who waited and was granted, since it was asked last.
    granted: Vec<Ticket>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    locks: usize,
    waits: usize,
}

impl Want {
    fn at(self, place: Place) -> Self {
        match place.kind {
            LockKind::Posix => self,
            LockKind::Flock => Self { range: LockRange::WHOLE, ..self },
        }
    }
}

impl Table {
    /// The lock that stands in the way of one that might be asked for (`F_GETLK`): the first by its first byte.
    pub fn test(
        &self,
        place: Place,
        holder: Holder,
        range: LockRange,
        mode: LockMode,
    ) -> Option<(Holder, Region)> {
        let range = if place.kind == LockKind::Flock { LockRange::WHOLE } else { range };
        self.files.get(&place)?.first_conflict(holder, range, mode)
    }

    /// Whether nobody holds a lock that is in the way.
    pub fn is_free(&self, place: Place, holder: Holder, want: Want) -> bool {
        let want = want.at(place);
        self.files.get(&place).is_none_or(|file| file.is_free(holder, want.range, want.mode))
    }

    /// Asks for a lock: sets the range to the mode, as `fcntl` with `F_SETLK`, or with `F_SETLKW` when it may wait, or
    /// as `flock`, which lets go of what is converted first, as Linux does.
    pub fn set(&mut self, place: Place, holder: Holder, want: Want, may_wait: bool) -> Verdict {
        let want = want.at(place);
        if !self.has_room(place, holder, want) {
            return Verdict::TooMany;
        }
        let freed = place.kind == LockKind::Flock && self.let_go_to_convert(place, holder, want.mode);
        let verdict = if self.is_free(place, holder, want) {
            self.grant(place, holder, want);
            Verdict::Granted
        } else if !may_wait {
            Verdict::WouldBlock
        } else if self.counts.get(&holder.session).is_some_and(|count| count.waits >= WAITS_PER_SESSION_MAX) {
            Verdict::TooMany
        } else if place.kind == LockKind::Posix && self.would_deadlock(place, holder, want) {
            Verdict::Deadlock
        } else {
            Verdict::Waits(self.enqueue(Wait { place, holder, want }))
        };
        if freed {
            self.serve_waiting(place, LockRange::WHOLE);
        }
        verdict
    }

    /// Lets go of a range.
    ///
    /// # Errors
    /// [`Verdict::TooMany`] when a lock would be split and there are too many; nothing has changed then.
    pub fn unlock(&mut self, place: Place, holder: Holder, range: LockRange) -> Result<(), Verdict> {
        let Some(file) = self.files.get(&place) else { return Ok(()) };
        let range = if place.kind == LockKind::Flock { LockRange::WHOLE } else { range };
        let edit = file.edit(holder, range, None);
        let more = edit.added.len().saturating_sub(edit.removed.len());
        if more > 0 && !self.may_have(holder.session, more) {
            return Err(Verdict::TooMany);
        }
        self.change(place, holder, range, None);
        Ok(())
    }

    /// Lets go of all that a holder has of a file. What it waits for stays.
    pub fn release(&mut self, place: Place, holder: Holder) {
        self.change(place, holder, LockRange::WHOLE, None);
    }

    /// Waits no more; false: it did not wait.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.dequeue(ticket).is_some()
    }

    /// Whether it still waits.
    #[cfg(test)]
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.waits.contains_key(&ticket)
    }

    /// A session is over: it waits for nothing, and holds nothing.
    pub fn release_session(&mut self, session: SessionId) {
        let waiting =
            self.waiting.range(Holder::of(session)).flat_map(|(_, tickets)| tickets.iter().copied());
        for ticket in waiting.collect::<Vec<_>>() {
            self.dequeue(ticket);
        }
        let held = self.places.range(Holder::of(session));
        let held = held.flat_map(|(holder, places)| places.iter().map(move |place| (*place, *holder)));
        let held: Vec<_> = held.collect();
        // All of it goes before anybody is let in, so that who came first is first.
        let mut freed = BTreeSet::new();
        for (place, holder) in held {
            self.edit(place, holder, LockRange::WHOLE, None);
            freed.insert(place);
        }
        for place in freed {
            self.serve_waiting(place, LockRange::WHOLE);
        }
    }

    /// Who waited and was granted since this was asked last, in order.
    pub fn take_granted(&mut self) -> Vec<Ticket> {
        core::mem::take(&mut self.granted)
    }

    /// What a holder has of a file.
    pub fn held(&self, place: Place, holder: Holder) -> impl Iterator<Item = Region> + '_ {
        let regions = self.files.get(&place).and_then(|file| file.regions(holder));
        regions.into_iter().flat_map(|regions| regions.iter())
    }

    /// Locks that are held.
    pub const fn locks(&self) -> usize {
        self.locks
    }

    fn may_have(&self, session: SessionId, more: usize) -> bool {
        let count = self.counts.get(&session).map_or(0, |count| count.locks);
        count + more <= LOCKS_PER_SESSION_MAX && self.locks + more <= LOCKS_MAX
    }

    fn has_room(&self, place: Place, holder: Holder, want: Want) -> bool {
        // At most two more: what is split on both sides, and itself.
        if self.may_have(holder.session, 2) {
            return true;
        }
        let to = Some((want.mode, want.pid));
        let edit = self.files.get(&place).map(|file| file.edit(holder, want.range, to));
        let more = edit.map_or(1, |edit| edit.added.len().saturating_sub(edit.removed.len()));
        more == 0 || self.may_have(holder.session, more)
    }

    /// A lock of another mode goes before the new one is looked at; true: there was one.
    fn let_go_to_convert(&mut self, place: Place, holder: Holder, mode: LockMode) -> bool {
        if self.held(place, holder).all(|region| region.mode == mode) {
            return false;
        }
        self.edit(place, holder, LockRange::WHOLE, None)
    }

    /// Makes a change of what is held, and lets those in who waited for it.
    fn change(&mut self, place: Place, holder: Holder, range: LockRange, to: Option<(LockMode, u32)>) {
        if self.edit(place, holder, range, to) {
            self.serve_waiting(place, range);
        }
    }

    fn grant(&mut self, place: Place, holder: Holder, want: Want) {
        self.change(place, holder, want.range, Some((want.mode, want.pid)));
    }

    /// Makes a change of what is held; true: some byte is locked less than before.
    fn edit(&mut self, place: Place, holder: Holder, range: LockRange, to: Option<(LockMode, u32)>) -> bool {
        if to.is_none() && !self.files.contains_key(&place) {
            return false;
        }
        let file = self.files.entry(place).or_default();
        let edit = file.edit(holder, range, to);
        file.apply(holder, &edit);
        let (has_some, is_empty) = (file.regions(holder).is_some(), file.is_empty());
        if is_empty {
            self.files.remove(&place);
        }
        let (more, fewer) = (edit.added.len(), edit.removed.len());
        self.locks = self.locks + more - fewer;
        self.count(holder.session, |count| count.locks = count.locks + more - fewer);
        if has_some {
            self.places.entry(holder).or_default().insert(place);
        } else if let Some(places) = self.places.get_mut(&holder) {
            places.remove(&place);
            if places.is_empty() {
                self.places.remove(&holder);
            }
        }
        edit.weakens
    }

    fn count(&mut self, session: SessionId, change: impl FnOnce(&mut Count)) {
        let count = self.counts.entry(session).or_default();
        change(count);
        if *count == Count::default() {
            self.counts.remove(&session);
        }
    }

    fn enqueue(&mut self, wait: Wait) -> Ticket {
        self.drawn += 1;
        let ticket = Ticket(self.drawn);
        self.files.entry(wait.place).or_default().enqueue(ticket, &wait.want);
        self.waiting.entry(wait.holder).or_default().insert(ticket);
        self.waits.insert(ticket, wait);
        self.count(wait.holder.session, |count| count.waits += 1);
        ticket
    }

    fn dequeue(&mut self, ticket: Ticket) -> Option<Wait> {
        let wait = self.waits.remove(&ticket)?;
        if let Some(file) = self.files.get_mut(&wait.place) {
            file.dequeue(ticket, &wait.want);
            if file.is_empty() {
                self.files.remove(&wait.place);
            }
        }
        if let Some(tickets) = self.waiting.get_mut(&wait.holder) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.waiting.remove(&wait.holder);
            }
        }
        self.count(wait.holder.session, |count| count.waits -= 1);
        Some(wait)
    }

    /// Some of the range is locked less than before: who waits for it is let in, in the order of coming, as long as
    /// nothing is in its way.
    fn serve_waiting(&mut self, place: Place, freed: LockRange) {
        let mut next = Some(freed);
        while let Some(freed) = next.take() {
            let waiting = self.files.get(&place).map(|file| file.waiting(freed)).unwrap_or_default();
            // Once somebody has all of it alone, nobody else comes in.
            let mut alone = None;
            for ticket in waiting {
                let Some(Wait { holder, want, .. }) = self.waits.get(&ticket).copied() else { continue };
                if alone.is_some_and(|alone| alone != holder) || !self.is_free(place, holder, want) {
                    continue;
                }
                self.dequeue(ticket);
                self.granted.push(ticket);
                if self.edit(place, holder, want.range, Some((want.mode, want.pid))) {
                    // Its holder had more of it before: the first in the queue may come in now.
                    next = Some(freed.hull(want.range));
                    break;
                }
                let takes_all = want.mode == LockMode::Exclusive && want.range.covers(freed);
                alone = takes_all.then_some(holder);
            }
        }
    }
}

#[cfg(test)]
impl Table {
    /// Whether nothing is left of anybody.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.files.is_empty()
            && self.places.is_empty()
            && self.waits.is_empty()
            && self.waiting.is_empty()
            && self.counts.is_empty()
            && self.locks == 0
    }
}
