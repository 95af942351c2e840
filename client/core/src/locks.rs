//! The locks that this mount holds and asks for.
//!
//! What is held is known here too, though the owner of the metadata decides: so that closing a file costs nothing when
//! there is no lock on it, and to tell the next owner after a takeover.

mod mirror;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weft_layout::{Region, Regions};
use weft_types::{Epoch, Inode, LockKind, LockMode, LockOwner, LockRange, SlotId, SlotSeq};
use weft_wire::locks::{HeldLock, LOCK_SLOTS};

use crate::FsError;
pub(crate) use mirror::{Change, Mirror, Pending};

/// Slots that are left to those who let go or give up.
const RESERVED: usize = 512;

/// A lock that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRequest {
    /// Of which file.
    pub inode: Inode,
    /// Which locks.
    pub kind: LockKind,
    /// On whose behalf, as the kernel tells owners apart.
    pub owner: LockOwner,
    /// Which process asks.
    pub pid: u32,
    /// Which bytes; of a `flock` the whole file, whatever is said.
    pub range: LockRange,
    /// In which mode.
    pub mode: LockMode,
}

impl LockRequest {
    pub(crate) const fn key(&self) -> Key {
        Key { inode: self.inode, kind: self.kind, owner: self.owner }
    }

    /// What it changes when it is granted.
    pub(crate) const fn change(&self) -> Change {
        let range = match self.kind {
            LockKind::Posix => self.range,
            LockKind::Flock => LockRange::WHOLE,
        };
        (range, Some((self.mode, self.pid)))
    }
}

/// Who holds locks of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) inode: Inode,
    pub(crate) kind: LockKind,
    pub(crate) owner: LockOwner,
}

#[derive(Debug, Default)]
struct Holder {
    mirror: Mirror,
    /// What must be through before anything else is asked for: locks that are let go of, requests that were given up.
    letting_go: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The ownership that knows what is held here; `None`: it must be told first.
    epoch: Option<Epoch>,
    holders: HashMap<Key, Holder>,
    /// What was lost and not let go of by who believes to hold it.
    lost: HashMap<Key, Regions>,
    /// Holders that are about to let go of all that they have.
    releasing: HashSet<Key>,
    /// Slots that were used and are free, each with its next number.
    free: Vec<(SlotId, SlotSeq)>,
    /// Slots that were ever used.
    used: u16,
}

/// The locks of a mount.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    state: Mutex<State>,
    /// Something is lost.
    has_lost: AtomicBool,
    /// Who closed a file waited in vain, and nothing was answered since.
    silent: AtomicBool,
    /// Something happened that one may wait for: a holder, a slot, an owner that was told.
    changed: Notify,
    /// One tells an owner at a time.
    pub(crate) telling: tokio::sync::Mutex<()>,
}

/// A slot in use.
#[derive(Debug)]
pub(crate) struct Slot {
    locks: Arc<Locks>,
    pub(crate) id: SlotId,
    pub(crate) seq: SlotSeq,
}

impl Slot {
    /// What comes is another request.
    pub(crate) const fn again(&mut self) {
        self.seq = self.seq.next();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.locks.state().free.push((self.id, self.seq.next()));
        self.locks.changed.notify_waiters();
    }
}

/// Somebody lets go of locks, or gives up: others of the same holder wait. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct LettingGo {
    locks: Arc<Locks>,
    key: Key,
}

impl Drop for LettingGo {
    fn drop(&mut self) {
        self.locks.state().with(self.key, |holder| holder.letting_go -= 1);
        self.locks.changed.notify_waiters();
    }
}

/// A holder is about to let go of all that it has. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Releasing {
    locks: Arc<Locks>,
    key: Key,
}

impl Drop for Releasing {
    fn drop(&mut self) {
        self.locks.state().releasing.remove(&self.key);
        self.locks.changed.notify_waiters();
    }
}

impl State {
    fn lose(&mut self, key: Key, range: LockRange) {
        // Whatever it was.
        self.lost.entry(key).or_default().set(range, Some((LockMode::Exclusive, 0)));
    }

    fn is_settled(&self, key: Key) -> bool {
        self.holders.get(&key).is_none_or(|holder| holder.letting_go == 0)
    }

    /// A free slot with its next number, as long as more than these are left.
    fn take_slot(&mut self, reserved: usize) -> Option<(SlotId, SlotSeq)> {
        let never_used = usize::from(LOCK_SLOTS - self.used);
        if self.free.len() + never_used <= reserved {
            return None;
        }
        // The last one given back is the first one taken, so that few slots are ever used by a calm mount.
        self.free.pop().or_else(|| {
            self.used += 1;
            Some((SlotId::new(self.used - 1), SlotSeq::new(1)))
        })
    }

    /// Changes a holder, which is forgotten when there is nothing about it.
    fn with<T>(&mut self, key: Key, change: impl FnOnce(&mut Holder) -> T) -> T {
        let holder = self.holders.entry(key).or_default();
        let done = change(holder);
        if holder.letting_go == 0 && holder.mirror.is_idle() {
            self.holders.remove(&key);
        }
        done
    }
}

impl Locks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ownership that knows what is held here.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.state().epoch
    }

    /// Whether nothing is held for certain, nor asked for: there is nothing to let go of.
    pub(crate) fn is_idle(&self, key: Key) -> bool {
        let state = self.state();
        !state.lost.contains_key(&key) && !state.holders.contains_key(&key)
    }

    /// Whether anything was lost, and not let go of yet.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Acquire)
    }

    /// Whether locks of this holder were lost, and it did not let go of them yet.
    pub(crate) fn is_lost(&self, key: Key) -> bool {
        self.has_lost() && self.state().lost.contains_key(&key)
    }

    /// The holder lets go of this: it does not believe any more to hold it.
    pub(crate) fn forget_lost(&self, key: Key, range: LockRange) {
        if !self.has_lost() {
            return;
        }
        let mut state = self.state();
        if let Some(lost) = state.lost.get_mut(&key) {
            lost.set(range, None);
            if lost.is_empty() {
                state.lost.remove(&key);
            }
        }
        self.has_lost.store(!state.lost.is_empty(), Ordering::Release);
    }

    /// A holder does not hold this as it believes.
    pub(crate) fn lose(&self, key: Key, range: LockRange) {
        self.state().lose(key, range);
        self.has_lost.store(true, Ordering::Release);
    }

    /// Nothing is held any more: the session is over.
    pub(crate) fn lose_all(&self) {
        let mut state = self.state();
        let mut held = Vec::new();
        for (key, holder) in &mut state.holders {
            // Of one that may hold more than is known, all.
            let known = holder.mirror.regions();
            held.extend(known.iter().map(|region| (*key, region.range)));
            if known.is_empty() && !holder.mirror.is_empty() {
                held.push((*key, LockRange::WHOLE));
            }
            holder.mirror.lose();
        }
        held.into_iter().for_each(|(key, range)| state.lose(key, range));
        state.holders.retain(|_, holder| holder.letting_go > 0 || !holder.mirror.is_idle());
        self.has_lost.store(!state.lost.is_empty(), Ordering::Release);
    }

    /// Whether nobody need wait for answers, since they do not come.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// A holder lets go of all that it has; `None`: it is about to already, and has not begun.
    pub(crate) fn begin_release(self: &Arc<Self>, key: Key) -> Option<Releasing> {
        let begins = self.state().releasing.insert(key);
        begins.then(|| Releasing { locks: Arc::clone(self), key })
    }

    /// Waits until a holder lets go of nothing.
    pub(crate) async fn settled(&self, key: Key) {
        self.when(|state| state.is_settled(key).then_some(())).await;
    }

    /// Waits until a holder lets go of nothing, and is not about to.
    pub(crate) async fn released(&self, key: Key) {
        let released = |state: &State| !state.releasing.contains(&key) && state.is_settled(key);
        self.when(|state| released(state).then_some(())).await;
    }

    /// Waits until a holder lets go of nothing else; others wait from now on.
    pub(crate) async fn let_go(self: &Arc<Self>, key: Key) -> LettingGo {
        self.when(|state| {
            state.is_settled(key).then(|| state.holders.entry(key).or_default().letting_go += 1)
        })
        .await;
        LettingGo { locks: Arc::clone(self), key }
    }

    /// A request is given up now: others of the holder wait until that is through.
    pub(crate) fn give_up(self: &Arc<Self>, key: Key) -> LettingGo {
        self.state().with(key, |holder| holder.letting_go += 1);
        LettingGo { locks: Arc::clone(self), key }
    }

    /// A slot for a request for a lock.
    pub(crate) fn slot(self: &Arc<Self>) -> Result<Slot, FsError> {
        let (id, seq) = self.state().take_slot(RESERVED).ok_or(FsError::TooManyLocks)?;
        Ok(Slot { locks: Arc::clone(self), id, seq })
    }

    /// A slot to let go with; waits for one.
    pub(crate) async fn reserved_slot(self: &Arc<Self>) -> Slot {
        let (id, seq) = self.when(|state| state.take_slot(0)).await;
        Slot { locks: Arc::clone(self), id, seq }
    }

    /// A request of a holder is about to be made.
    pub(crate) fn begin(&self, key: Key) -> Pending {
        self.state().with(key, |holder| holder.mirror.begin())
    }

    /// A request of a holder is under way no more.
    pub(crate) fn end(&self, key: Key, pending: Pending) {
        self.state().with(key, |holder| holder.mirror.end(pending));
    }

    /// Notes what an ownership answered. False: that is not the one that knows what is held here by now, and the answer
    /// says nothing.
    pub(crate) fn note(&self, key: Key, epoch: Epoch, note: impl FnOnce(&mut Mirror)) -> bool {
        let mut state = self.state();
        let counts = state.epoch == Some(epoch);
        if counts {
            state.with(key, |holder| note(&mut holder.mirror));
        }
        counts
    }

    /// What a holder has of a range.
    pub(crate) fn held(&self, key: Key, range: LockRange) -> Vec<Region> {
        let state = self.state();
        let Some(holder) = state.holders.get(&key) else { return Vec::new() };
        let regions = holder.mirror.regions();
        let within = |region: Region| Some(Region { range: region.range.common(range)?, ..region });
        regions.overlapping(range).filter_map(within).collect()
    }

    /// An ownership answers that awaits nothing of this session. True: it must be told all the same, since it is another
    /// one than knows what is held here.
    pub(crate) fn hear_of(&self, epoch: Epoch) -> bool {
        let mut state = self.state();
        match state.epoch {
            Some(known) => epoch > known,
            None if state.holders.is_empty() => {
                state.epoch = Some(epoch);
                false
            }
            None => true,
        }
    }

    /// From now on no earlier ownership's answers count, and nothing is asked for. Answers what is to be told to the next.
    pub(crate) fn begin_telling(&self) -> Vec<HeldLock> {
        let mut state = self.state();
        state.epoch = None;
        let mut all = Vec::new();
        for (Key { inode, kind, owner }, holder) in &mut state.holders {
            let held = |Region { range, mode, pid }| HeldLock {
                inode: *inode,
                kind: *kind,
                owner: *owner,
                range,
                mode,
                pid,
            };
            all.extend(holder.mirror.restart().iter().map(held));
        }
        // Whoever looks at what went over the wire finds it in order.
        all.sort_unstable_by_key(|lock| (lock.inode, lock.kind, lock.owner, lock.range));
        all
    }

    /// An ownership knows what is held here, but for these, which are lost.
    pub(crate) fn told(&self, epoch: Epoch, refused: &[HeldLock]) {
        let mut state = self.state();
        for HeldLock { inode, kind, owner, range, .. } in refused {
            let key = Key { inode: *inode, kind: *kind, owner: *owner };
            state.lose(key, *range);
            state.with(key, |holder| holder.mirror.changed(0, (*range, None)));
        }
        state.epoch = Some(epoch);
        self.has_lost.store(!state.lost.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until there is something to take.
    async fn when<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = take(&mut self.state()) {
                return taken;
            }
            changed.await;
        }
    }
}
