//! Where a log ends, from what its drives hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_types::{Digest, MetadataShard, Position};
use weft_wire::ownership::{DriveHome, ShardRow};

use super::history;
use crate::log::record;

/// A record whose checksums hold.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) position: Position,
    pub(super) predecessor: Digest,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Whole {
    /// Reads a record that a drive gave for a position.
    pub(super) fn parse(position: Position, bytes: Bytes, shard: MetadataShard) -> Result<Self, String> {
        let (header, found, digest) = record::decode(&bytes, shard).map_err(|error| error.to_string())?;
        if found.position != position || header.record_len() != bytes.len() as u64 {
            return Err(format!("the record at {position} says that it is {}", found.position));
        }
        Ok(Self { position, predecessor: header.predecessor, digest, bytes })
    }
}

/// What a drive says it has at a position; without bytes its copy is damaged.
pub(super) type Entry = (Position, Option<Bytes>);

/// The end of a log is not to be had from these copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) seq: u64,
    pub(super) reason: String,
}

/// The tail of a log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The records that count, without a gap, by sequence.
    pub(super) records: BTreeMap<u64, Whole>,
    /// For each drive the sequences of those that it has whole.
    pub(super) held: BTreeMap<DriveHome, Vec<u64>>,
}

impl Tail {
    /// The last record.
    pub(super) fn last(&self) -> Option<&Whole> {
        self.records.values().next_back()
    }

    /// Whether a drive has all records but perhaps the last: an append goes out only after the one before it was held
    /// by all.
    pub(super) fn is_intact(&self, home: DriveHome) -> bool {
        let held = self.held.get(&home).map(Vec::as_slice).unwrap_or_default();
        let last = self.last().map(|last| last.position.seq);
        self.records.keys().all(|seq| Some(*seq) == last || held.contains(seq))
    }

    /// Whether a drive has the last record, or there is none.
    pub(super) fn has_last(&self, home: DriveHome) -> bool {
        let held = self.held.get(&home).map(Vec::as_slice).unwrap_or_default();
        self.last().is_none_or(|last| held.contains(&last.position.seq))
    }
}

/// The longest gap-free run of records that count, from sequence `from` on, over all copies. `base` is the digest of
/// the record before, where it is known.
///
/// A record that is missing or damaged everywhere while a later one exists is damage, and so is one of which only
/// damaged copies exist: neither is ever an end.
pub(super) fn settle(
    from: u64,
    base: Option<Digest>,
    copies: Vec<(DriveHome, Vec<Entry>)>,
    row: &ShardRow,
    shard: MetadataShard,
) -> Result<Tail, Damage> {
    let mut wholes: BTreeMap<u64, Vec<(DriveHome, Whole)>> = BTreeMap::new();
    let mut damaged: BTreeMap<u64, String> = BTreeMap::new();
    for (home, entries) in copies {
        for (position, bytes) in entries {
            if position.seq < from || !history::admits(row, position) {
                continue;
            }
            let parsed = bytes.ok_or_else(|| "the drive says that its copy is damaged".to_owned());
            match parsed.and_then(|bytes| Whole::parse(position, bytes, shard)) {
                Ok(whole) => wholes.entry(position.seq).or_default().push((home, whole)),
                Err(reason) => {
                    damaged.insert(position.seq, reason);
                }
            }
        }
    }
    let mut tail = Tail::default();
    let mut before = base;
    let last = wholes.keys().chain(damaged.keys()).max().copied().unwrap_or(0);
    for seq in from..=last {
        let found = wholes.remove(&seq).unwrap_or_default();
        let fits = |whole: &Whole| {
            let epoch = tail.last().map(|last| last.position.epoch).unwrap_or_default();
            before.is_none_or(|before| before == whole.predecessor) && whole.position.epoch >= epoch
        };
        let mut fitting = found.iter().filter(|(_, whole)| fits(whole));
        let Some((_, chosen)) = fitting.next() else {
            let reason = match (damaged.remove(&seq), found.is_empty()) {
                (Some(reason), _) => reason,
                (None, true) => "no drive has it, and one has a later one".to_owned(),
                (None, false) => "it does not follow the record before it".to_owned(),
            };
            return Err(Damage { seq, reason });
        };
        if fitting.any(|(_, other)| other.digest != chosen.digest) {
            return Err(Damage { seq, reason: "two drives have different records".to_owned() });
        }
        for (home, whole) in &found {
            if whole.digest == chosen.digest {
                tail.held.entry(*home).or_default().push(seq);
            }
        }
        before = Some(chosen.digest);
        tail.records.insert(seq, chosen.clone());
    }
    Ok(tail)
}
