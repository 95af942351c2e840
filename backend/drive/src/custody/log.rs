//! A drive's copy of a metadata shard's log: who may write it, and what there is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weft_types::{Epoch, NodeId, Position};
use weft_wire::frame::BULK_BYTES_MAX;
use weft_wire::log::{LogEntry, LogHeld, LogKey, LogRefusal, ObjectKey, PutLog, ReadLog, TrimLog};

use super::decision::{Change, Decision, Step, Write};
use super::document::{self, LogNote};
use super::grant::ShownLog;
use super::item::{Document, Fingerprint, Named};
use crate::key::ItemKey;

/// The most entries of one answer: far less than a body may have.
const ENTRIES_MAX: usize = 8192;

/// The most keys of one deletion.
const DELETE_KEYS: usize = 4096;

/// The most objects of one deletion and on one page.
pub(super) const OBJECTS_MAX: usize = 4096;

/// A record or an object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    pub(super) fingerprint: Fingerprint,
    pub(super) len: u32,
    /// Reading found it damaged: putting the same bytes again repairs it.
    pub(super) damaged: bool,
}

impl Held {
    fn of(epoch: Epoch, bytes: &Bytes, fingerprint: Fingerprint) -> Self {
        Self { epoch, fingerprint, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), damaged: false }
    }

    /// Whether these are the same bytes, whatever their state.
    fn is(&self, other: &Self) -> bool {
        (self.epoch, self.fingerprint, self.len) == (other.epoch, other.fingerprint, other.len)
    }
}

/// Bytes to be put, with what is kept in memory of them.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    pub(super) bytes: Bytes,
    fingerprint: Fingerprint,
}

impl Payload {
    /// `None` when there are no bytes, or too many.
    pub(super) fn new(bytes: Bytes) -> Option<Self> {
        let fits = !bytes.is_empty() && bytes.len() <= BULK_BYTES_MAX as usize;
        fits.then(|| Self { fingerprint: Fingerprint::of(&bytes), bytes })
    }
}

/// A log, and the checkpoints of its shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) note: Option<LogNote>,
    records: BTreeMap<u64, Held>,
    objects: BTreeMap<ObjectKey, Held>,
    /// Up to this sequence a trimming that failed may have marked records as consumed.
    doubtful_below: u64,
    /// Items that may be on the device although putting them failed.
    doubtful: BTreeSet<ItemKey>,
}

impl Log {
    /// A record as it was found; of two at one sequence the later epoch's counts. Says which one does not.
    pub(super) fn load_record(&mut self, log: LogKey, position: Position, held: Held) -> Option<ItemKey> {
        let consumed = self.note.is_some_and(|note| position.seq <= note.trimmed);
        let named = |held: &Held| {
            let position = Position { epoch: held.epoch, seq: position.seq };
            Named::Record(log, position, held.fingerprint).key()
        };
        if consumed || self.records.get(&position.seq).is_some_and(|other| other.epoch >= held.epoch) {
            return Some(named(&held));
        }
        self.records.insert(position.seq, held).map(|other| named(&other))
    }

    /// An object as it was found.
    pub(super) fn load_object(&mut self, key: ObjectKey, held: Held) -> Option<ItemKey> {
        self.objects.insert(key, held).map(|other| Named::Object(key, other.fingerprint).key())
    }

    pub(super) fn is_unsealed_and_used(&self) -> bool {
        self.note.is_none() && !(self.records.is_empty() && self.objects.is_empty())
    }

    pub(super) fn held(&self) -> LogHeld {
        let position = |(seq, held): (&u64, &Held)| Position { epoch: held.epoch, seq: *seq };
        LogHeld {
            trimmed: self.note.map_or(0, |note| note.trimmed),
            first: self.records.keys().next().copied(),
            last: self.records.iter().next_back().map(position),
        }
    }

    pub(super) fn seal(&self, shown: ShownLog, attempt: &mut u64) -> Result<Decision, LogRefusal> {
        let ShownLog(grant) = shown;
        let trimmed = match self.note {
            Some(note) if (note.epoch, note.owner) == (grant.epoch, grant.owner) => {
                return Ok(Decision::none());
            }
            Some(note) if note.epoch >= grant.epoch => return Err(LogRefusal::Deposed { by: note.epoch }),
            _ => self.consumed(),
        };
        let note = LogNote { epoch: grant.epoch, owner: grant.owner, trimmed };
        let steps = vec![keep_note(grant.log(), note, attempt)];
        Ok(Decision { steps, change: Change::Sealed { log: grant.log(), note } })
    }

    /// Up to this sequence nothing is put any more.
    fn consumed(&self) -> u64 {
        self.note.map_or(0, |note| note.trimmed).max(self.doubtful_below)
    }

    /// Whether `caller` may write under this epoch.
    fn authorise(&self, epoch: Epoch, caller: NodeId) -> Result<LogNote, LogRefusal> {
        match self.note {
            Some(note) if epoch < note.epoch => Err(LogRefusal::Deposed { by: note.epoch }),
            Some(note) if epoch == note.epoch && caller == note.owner => Ok(note),
            _ => Err(LogRefusal::NotGranted),
        }
    }

    pub(super) fn put(&self, put: PutLog, payload: &Payload, caller: NodeId) -> Result<Decision, LogRefusal> {
        let PutLog { log, epoch, position } = put;
        self.authorise(epoch, caller)?;
        if position.seq == 0 || position.epoch > epoch {
            return Err(LogRefusal::Malformed);
        }
        if position.seq <= self.consumed() {
            return Err(LogRefusal::Trimmed);
        }
        let held = Held::of(position.epoch, &payload.bytes, payload.fingerprint);
        match self.records.get(&position.seq) {
            Some(other) if !other.is(&held) => return Err(LogRefusal::Conflict),
            Some(other) if !other.damaged => return Ok(Decision::none()),
            _ => {}
        }
        let key = Named::Record(log, position, payload.fingerprint).key();
        let in_the_way = |named: &Named| matches!(named, Named::Record(_, at, _) if at.seq == position.seq);
        let steps = self.put_steps(key, payload, in_the_way);
        Ok(Decision { steps, change: Change::Record { log, seq: position.seq, held } })
    }

    pub(super) fn put_object(
        &self,
        key: ObjectKey,
        payload: &Payload,
        caller: NodeId,
    ) -> Result<Decision, LogRefusal> {
        self.authorise(key.epoch, caller)?;
        let held = Held::of(key.epoch, &payload.bytes, payload.fingerprint);
        match self.objects.get(&key) {
            Some(other) if !other.is(&held) => return Err(LogRefusal::Conflict),
            Some(other) if !other.damaged => return Ok(Decision::none()),
            _ => {}
        }
        let item = Named::Object(key, payload.fingerprint).key();
        let in_the_way = |named: &Named| matches!(named, Named::Object(other, _) if *other == key);
        let steps = self.put_steps(item, payload, in_the_way);
        Ok(Decision { steps, change: Change::Object { key, held } })
    }

    /// What may be there in its place goes first: otherwise both could be there after a restart.
    fn put_steps(&self, key: ItemKey, payload: &Payload, in_the_way: impl Fn(&Named) -> bool) -> Vec<Step> {
        let mut steps = deletions(self.doubtful_named(in_the_way).filter(|other| *other != key));
        steps.push(vec![Write::Put(key, payload.bytes.clone())]);
        steps
    }

    fn doubtful_named(&self, chosen: impl Fn(&Named) -> bool) -> impl Iterator<Item = ItemKey> {
        let named = |key: &&ItemKey| Named::parse(key.as_bytes()).is_some_and(|named| chosen(&named));
        self.doubtful.iter().filter(named).cloned().collect::<Vec<_>>().into_iter()
    }

    pub(super) fn trim(
        &self,
        trim: TrimLog,
        caller: NodeId,
        attempt: &mut u64,
    ) -> Result<Decision, LogRefusal> {
        let TrimLog { log, epoch, up_to, void_after } = trim;
        let note = self.authorise(epoch, caller)?;
        let mark = match (up_to, void_after) {
            (u64::MAX, Some(_)) => return Err(LogRefusal::Malformed),
            // The log goes, and what it had stays consumed; it may come back and go on.
            (u64::MAX, None) => self.records.keys().next_back().copied().unwrap_or(0),
            (mark, _) => mark,
        };
        let goes =
            |seq: u64, of: Epoch| seq <= up_to || void_after.is_some_and(|after| seq > after && of < epoch);
        let gone: Vec<_> =
            self.records.iter().filter(|(seq, held)| goes(**seq, held.epoch)).map(|(seq, _)| *seq).collect();
        let known = gone.iter().map(|seq| self.record_key(log, *seq));
        let doubtful =
            self.doubtful_named(|named| matches!(named, Named::Record(_, at, _) if goes(at.seq, at.epoch)));
        let deletions = deletions(known.chain(doubtful));
        let note = LogNote { trimmed: mark.max(self.consumed()), ..note };
        let mut steps = Vec::new();
        if Some(note) != self.note {
            // Before the records go: a sequence must never look as if nothing had been there.
            steps.push(keep_note(log, note, attempt));
        }
        steps.extend(deletions);
        Ok(Decision { steps, change: Change::Trimmed { log, note, gone } })
    }

    fn record_key(&self, log: LogKey, seq: u64) -> ItemKey {
        let held = &self.records[&seq];
        Named::Record(log, Position { epoch: held.epoch, seq }, held.fingerprint).key()
    }

    pub(super) fn delete_objects(
        &self,
        epoch: Epoch,
        keys: &[ObjectKey],
        caller: NodeId,
    ) -> Result<Decision, LogRefusal> {
        self.authorise(epoch, caller)?;
        let named =
            |key: &ObjectKey| self.objects.get(key).map(|held| Named::Object(*key, held.fingerprint).key());
        let doubtful =
            self.doubtful_named(|named| matches!(named, Named::Object(key, _) if keys.contains(key)));
        let steps = deletions(keys.iter().filter_map(named).chain(doubtful));
        Ok(Decision { steps, change: Change::ObjectsGone { keys: keys.to_vec() } })
    }

    /// What a read answers: where each record stands, the item that has it, and whether nothing comes after.
    pub(super) fn read(&self, read: ReadLog) -> (Vec<(LogEntry, ItemKey)>, bool) {
        let room = read.bytes.min(BULK_BYTES_MAX);
        let (mut entries, mut bytes) = (Vec::new(), 0_u32);
        let Some(first) = read.after.checked_add(1) else { return (entries, true) };
        for (seq, held) in self.records.range(first..) {
            bytes = bytes.saturating_add(held.len);
            if entries.len() >= ENTRIES_MAX || (!entries.is_empty() && bytes > room) {
                return (entries, false);
            }
            let position = Position { epoch: held.epoch, seq: *seq };
            entries.push((LogEntry { position, len: held.len }, self.record_key(read.log, *seq)));
        }
        (entries, true)
    }

    pub(super) fn object(&self, key: ObjectKey) -> Option<ItemKey> {
        self.objects.get(&key).map(|held| Named::Object(key, held.fingerprint).key())
    }

    pub(super) fn objects_after(&self, after: Option<ObjectKey>) -> Vec<ObjectKey> {
        let later = |key: &&ObjectKey| after.is_none_or(|after| **key > after);
        let from = after.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        self.objects
            .range((from, core::ops::Bound::Unbounded))
            .map(|(key, _)| key)
            .filter(later)
            .take(OBJECTS_MAX)
            .copied()
            .collect()
    }

    pub(super) fn mark_damaged(&mut self, named: Named) {
        let (held, read) = match named {
            Named::Record(_, position, read) => (self.records.get_mut(&position.seq), read),
            Named::Object(key, read) => (self.objects.get_mut(&key), read),
            Named::Document(..) => return,
        };
        if let Some(held) = held.filter(|held| held.fingerprint == read) {
            held.damaged = true;
        }
    }

    pub(super) fn recorded(&mut self, seq: u64, held: Held) {
        self.forget_doubtful(|named| matches!(named, Named::Record(_, at, _) if at.seq == seq));
        self.records.insert(seq, held);
    }

    pub(super) fn trimmed(&mut self, note: LogNote, gone: &[u64]) {
        self.note = Some(note);
        for seq in gone {
            self.records.remove(seq);
        }
        let gone: BTreeSet<_> = gone.iter().collect();
        self.forget_doubtful(|named| matches!(named, Named::Record(_, at, _) if at.seq <= note.trimmed || gone.contains(&at.seq)));
    }

    pub(super) fn put_down(&mut self, key: ObjectKey, held: Held) {
        self.forget_doubtful(|named| matches!(named, Named::Object(other, _) if *other == key));
        self.objects.insert(key, held);
    }

    pub(super) fn objects_gone(&mut self, keys: &[ObjectKey]) {
        self.forget_doubtful(|named| matches!(named, Named::Object(key, _) if keys.contains(key)));
        for key in keys {
            self.objects.remove(key);
        }
    }

    fn forget_doubtful(&mut self, settled: impl Fn(&Named) -> bool) {
        self.doubtful.retain(|key| !Named::parse(key.as_bytes()).is_some_and(|named| settled(&named)));
    }

    /// A trimming failed: what it marked as consumed may be so.
    pub(super) fn doubt_below(&mut self, mark: u64) {
        self.doubtful_below = self.doubtful_below.max(mark);
    }

    /// A put failed: what it wrote may be there.
    pub(super) fn doubt(&mut self, key: ItemKey) {
        self.doubtful.insert(key);
    }
}

fn keep_note(log: LogKey, note: LogNote, attempt: &mut u64) -> Step {
    *attempt += 1;
    document::keep(Document::Log(log), *attempt, &document::body(&note))
}

/// One step with everything that goes; none when nothing does.
fn deletions(keys: impl Iterator<Item = ItemKey>) -> Vec<Step> {
    let keys: Vec<_> = keys.collect();
    let step: Step = keys.chunks(DELETE_KEYS).map(|chunk| Write::Delete(chunk.to_vec())).collect();
    if step.is_empty() { Vec::new() } else { vec![step] }
}
