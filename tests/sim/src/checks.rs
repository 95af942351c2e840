//! What is looked at as it happens: no key and nonce for two texts, no delete of what is needed, one history, each
//! operation once.

use core::ops::RangeInclusive;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_compute::Owner;
use weft_layout::ClusterMap;
use weft_meta::session::SessionState;
use weft_meta::{ExtentRow, RowKey, Sealing, Transaction, session};
use weft_types::{Digest, DriveId, Epoch, SessionId, SlotId, SlotSeq};
use weft_wire::compute::Meta;
use weft_wire::drive::ShardKey;
use weft_wire::meta::{MetaError, MetaReply};

use crate::trace::Invariant;
use crate::world::World;

/// The header of a record, and of a part of a checkpoint.
const HEADER: usize = 120;

/// What was sealed so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes that were put under an id, wherever: an extent's key is its id's, and its nonces count from 0.
    shards: BTreeMap<ShardKey, Digest>,
    /// The sealed row of each ownership's salt and counter.
    rows: BTreeMap<([u8; 32], u64), Digest>,
    /// Shards and rows that were compared.
    compared: u64,
    /// The newest ownership that has begun, and the end of the log that it found.
    newest: (Epoch, u64),
    /// How each call of a session was answered first.
    answered: BTreeMap<(SessionId, SlotId, SlotSeq), Digest>,
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

impl Checks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shards and rows that were looked at.
    pub(crate) fn compared(&self) -> u64 {
        self.state().compared
    }
}

impl World {
    /// A shard is put to a drive.
    pub(crate) fn sealed_shard(&self, key: ShardKey, bytes: &[u8]) {
        let mut state = self.checks.state();
        state.compared += 1;
        let sealed = digest(bytes);
        let first = *state.shards.entry(key).or_insert(sealed);
        drop(state);
        if first != sealed {
            self.trace.violate(
                Invariant::NonceOnce,
                format_args!("extent {} was sealed twice: two texts for its nonces", key.extent),
            );
        }
    }

    /// A record of the log is put to a drive.
    pub(crate) fn sealed_record(&self, record: &[u8]) {
        let Some(salt) = record.get(32..64) else { return };
        let salt: [u8; 32] = salt.try_into().expect("32 bytes");
        let mut rest = record.get(HEADER..record.len().saturating_sub(4)).unwrap_or_default();
        while let Some((lengths, behind)) = rest.split_first_chunk::<8>() {
            let key = le(&lengths[..4]);
            let value = le(&lengths[4..]);
            let len = value.saturating_sub(1);
            let Some(sealed) = behind.get(key..key + len) else { return };
            if value > 0 {
                self.sealed_row(salt, &behind[..key], sealed);
            }
            rest = &behind[key + len..];
        }
    }

    /// A part of a checkpoint is put to a drive: its rows are those of records, as they were sealed there.
    pub(crate) fn sealed_part(&self, part: &[u8]) {
        let (Some(salts), Some(rows)) = (part.get(64..68), part.get(68..72)) else { return };
        let (salts, rows) = (le(salts), le(rows));
        let mut by_epoch = BTreeMap::new();
        let mut rest = part.get(HEADER..).unwrap_or_default();
        for _ in 0..salts {
            let Some((salt, behind)) = rest.split_first_chunk::<44>() else { return };
            let epoch = u64::from_le_bytes(salt[..8].try_into().expect("8 bytes"));
            let bytes: [u8; 32] = salt[8..40].try_into().expect("32 bytes");
            by_epoch.insert(epoch, bytes);
            rest = behind;
        }
        for _ in 0..rows {
            let Some((lengths, behind)) = rest.split_first_chunk::<8>() else { return };
            let (key, len) = (le(&lengths[..4]), le(&lengths[4..]));
            let Some(sealed) = behind.get(key..key + len) else { return };
            let epoch =
                sealed.get(16..24).map(|epoch| u64::from_le_bytes(epoch.try_into().expect("8 bytes")));
            if let Some(salt) = epoch.and_then(|epoch| by_epoch.get(&epoch)) {
                self.sealed_row(*salt, &behind[..key], sealed);
            }
            rest = &behind[key + len..];
        }
    }

    /// A row begins with its counter, which is its nonce; those in clear have none.
    fn sealed_row(&self, salt: [u8; 32], key: &[u8], row: &[u8]) {
        if RowKey::decode(key).is_ok_and(|key| key.sealing() == Sealing::Clear) {
            return;
        }
        let Some(header) = row.get(..24) else { return };
        let counter = u64::from_le_bytes(header[..8].try_into().expect("8 bytes"));
        let sealed = digest(row);
        let mut state = self.checks.state();
        state.compared += 1;
        let first = *state.rows.entry((salt, counter)).or_insert(sealed);
        drop(state);
        if first != sealed {
            self.trace.violate(
                Invariant::NonceOnce,
                format_args!("two rows were sealed under one salt with nonce {counter}"),
            );
        }
    }

    /// An owner has the log up to a place, and whoever had it before has it no more.
    pub(crate) fn begins(&self, epoch: Epoch, end: u64) {
        let mut state = self.checks.state();
        state.newest = state.newest.max((epoch, end));
    }

    /// An owner holds these places of the log for committed.
    pub(crate) fn commits(&self, epoch: Epoch, places: RangeInclusive<u64>) {
        let (newest, end) = self.checks.state().newest;
        if epoch < newest && *places.end() > end {
            let last = places.end();
            let what =
                format_args!("batch {last} is committed under epoch {epoch}, and {newest} began at {end}");
            self.trace.violate(Invariant::OneHistory, what);
        }
    }

    /// A call that changes something was answered, by whoever owns the log now.
    pub(crate) fn answers(&self, call: &Meta, answer: &Result<MetaReply, MetaError>) {
        // These say that it will not be done, or not yet, or that it was, without saying how.
        let open =
            [MetaError::SessionEnded, MetaError::SlotOutOfStep, MetaError::NoSpace, MetaError::NotAttached];
        if answer.as_ref().is_err_and(|refusal| open.contains(refusal)) {
            return;
        }
        let sealed = digest(format!("{answer:?}").as_bytes());
        let of = (call.session, call.slot, call.seq);
        let first = *self.checks.state().answered.entry(of).or_insert(sealed);
        if first != sealed {
            let (slot, seq) = (call.slot, call.seq);
            let what =
                format_args!("call {seq} of slot {slot} was answered otherwise before: now {answer:?}");
            self.trace.violate(Invariant::DoneOnce, what);
        }
    }

    /// An owner is about to delete a shard from a drive.
    pub(crate) fn deletes(&self, owner: &Owner, map: &ClusterMap, drive: DriveId, key: ShardKey) {
        let durable = owner.progress().borrow().durable;
        let judged = owner.look(|tx| fault(tx, map, drive, key));
        // Without rows nothing is known of them.
        let Ok((fault, depends)) = judged else { return };
        if let Some(fault) = fault {
            self.trace.violate(
                Invariant::NeededShardStays,
                format_args!("{key:?} is deleted from {}: {fault}", drive.short()),
            );
        } else if depends > durable {
            let extent = key.extent;
            self.trace.violate(
                Invariant::NeededShardStays,
                format_args!("a shard of {extent} is deleted before that it may be is durable"),
            );
        }
    }
}

/// Why a shard must not be deleted from a drive.
fn fault(
    tx: &dyn Transaction,
    map: &ClusterMap,
    drive: DriveId,
    key: ShardKey,
) -> Result<Option<&'static str>, MetaError> {
    let extent = key.extent;
    if let Some(row) = tx.get(&RowKey::Extent(extent))? {
        let row: ExtentRow = minicbor::decode(&row).map_err(|_| MetaError::Damaged)?;
        let members = map.group(row.group).and_then(|group| group.members_at(row.group_epoch));
        let slot = row.geometry.protection().group_slot(key.index, extent.seq).get();
        let here = members.and_then(|members| members.get(slot)) == Some(&drive);
        return Ok(here.then_some("files refer to it, and it belongs there"));
    }
    if tx.get(&RowKey::DeadExtent(extent))?.is_some() {
        return Ok(None);
    }
    let open = session::state(tx, extent.session)? == SessionState::Open;
    Ok(open.then_some("its session may commit it yet"))
}

fn le(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes.try_into().expect("4 bytes")) as usize
}
