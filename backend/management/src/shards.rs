//! Rows of metadata shards, and what their owners may do with them. Pure.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use weft_types::{Epoch, FilesystemId, MetadataShard, NodeId};
use weft_wire::management::FilesystemRefusal;
use weft_wire::ownership::{CheckpointRoot, DriveHome, EpochEnd, Held, LogSegment, ShardRow, SwapRefusal};

use crate::contents::Contents;
use crate::filesystem::FilesystemRow;
use crate::leases::Before;

/// Most segments of a log, and most ends of ownerships, in a row: the store must stay small.
const LIST_MAX: usize = 1024;
/// Most drives of one list.
const COPIES_MAX: usize = 64;

/// A metadata shard that has had an owner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ShardState {
    /// Which one.
    #[n(0)]
    pub shard: MetadataShard,
    /// Its row.
    #[n(1)]
    pub row: ShardRow,
    /// When the owner took it, another one may have answered still.
    #[n(2)]
    pub contested: bool,
}

/// An ownership that was just given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The filesystem.
    pub filesystem: FilesystemRow,
    /// The shard's row.
    pub row: ShardRow,
    /// Whose it was before; `None` for the first ownership.
    pub before: Option<Before>,
}

impl Contents {
    /// Gives a metadata shard to an owner under an epoch that was never given before. A filesystem that is being
    /// deleted has owners too: they delete it. `is_contested` says whether another owner may answer still.
    ///
    /// # Errors
    /// `NotFound`; `Store` for a shard that filesystems of this version do not have.
    pub(crate) fn take_ownership(
        &mut self,
        name: &str,
        shard: MetadataShard,
        owner: NodeId,
        is_contested: impl FnOnce(FilesystemId, Before) -> bool,
    ) -> Result<Taken, FilesystemRefusal> {
        let row = self.filesystems.iter_mut().find(|row| row.name == name);
        let filesystem = row.ok_or(FilesystemRefusal::NotFound)?;
        if shard != MetadataShard::new(0) {
            let reason = format!("{name} has no metadata shard {shard}");
            return Err(FilesystemRefusal::Store { reason });
        }
        let known = filesystem.shards.iter_mut().find(|state| state.shard == shard);
        let (row, before) = match known {
            Some(state) => {
                let before = Before { owner: state.row.owner, contested: state.contested };
                state.contested = is_contested(filesystem.id, before);
                (state.row.epoch, state.row.version) = (state.row.epoch.next(), state.row.version + 1);
                state.row.owner = owner;
                (state.row.clone(), Some(before))
            }
            None => {
                let row = first_row(owner);
                filesystem.shards.push(ShardState { shard, row: row.clone(), contested: false });
                (row, None)
            }
        };
        Ok(Taken { filesystem: filesystem.clone(), row, before })
    }

    /// The row of a shard.
    pub(crate) fn shard(&self, filesystem: FilesystemId, shard: MetadataShard) -> Option<&ShardRow> {
        let row = self.filesystem(filesystem)?;
        row.shards.iter().find(|state| state.shard == shard).map(|state| &state.row)
    }

    /// The row of a shard whose ownership this node holds.
    ///
    /// # Errors
    /// `NotFound`; `Deposed` when the ownership is another's or an earlier one.
    pub(crate) fn held(&self, held: &Held, node: NodeId) -> Result<&ShardRow, SwapRefusal> {
        let row = self.shard(held.filesystem, held.shard).ok_or(SwapRefusal::NotFound)?;
        if row.epoch == held.epoch && row.owner == node {
            Ok(row)
        } else {
            Err(SwapRefusal::Deposed { by: row.epoch })
        }
    }

    /// Replaces a shard's row. That of a filesystem that is being deleted may forget its log: then nobody looks for it any
    /// more, and drives can let go of it.
    ///
    /// # Errors
    /// [`SwapRefusal`], all but `Store`.
    pub(crate) fn swap_shard(
        &mut self,
        filesystem: FilesystemId,
        shard: MetadataShard,
        row: ShardRow,
        node: NodeId,
    ) -> Result<(), SwapRefusal> {
        let held = Held { filesystem, shard, epoch: row.epoch };
        let known = self.held(&held, node)?;
        if row.owner != known.owner || row.version.checked_sub(1) != Some(known.version) {
            return Err(SwapRefusal::Changed { version: known.version });
        }
        let deleting = self.filesystem(filesystem).is_some_and(|filesystem| filesystem.deleting);
        let forgotten = row.segments.is_empty() && row.ends.is_empty() && row.checkpoint.is_none();
        let may_stand = may_follow(known, &row) || (deleting && forgotten);
        if !may_stand {
            return Err(SwapRefusal::Malformed);
        }
        let states = self.filesystems.iter_mut().filter(|row| row.id == filesystem);
        if let Some(state) = states.flat_map(|row| row.shards.iter_mut()).find(|state| state.shard == shard) {
            state.row = row;
        }
        Ok(())
    }

    /// All shards that have had an owner.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (&FilesystemRow, &ShardState)> {
        self.filesystems.iter().flat_map(|row| row.shards.iter().map(move |state| (row, state)))
    }
}

fn first_row(owner: NodeId) -> ShardRow {
    ShardRow {
        version: 1,
        epoch: Epoch::new(1),
        owner,
        segments: Vec::new(),
        ends: Vec::new(),
        checkpoint: None,
    }
}

/// Whether a row can take the place of another one of the same ownership: its lists are in order and name drives,
/// what had ended has ended there still, and nothing goes back.
fn may_follow(known: &ShardRow, row: &ShardRow) -> bool {
    segments_in_order(&row.segments)
        && (known.segments.is_empty() || !row.segments.is_empty())
        && ends_follow(known, row)
        && checkpoint_follows(known.checkpoint.as_ref(), row.checkpoint.as_ref())
        && nothing_lost(row)
}

fn copies_in_order(drives: &[DriveHome]) -> bool {
    let distinct: BTreeSet<_> = drives.iter().map(|home| home.drive).collect();
    !drives.is_empty() && drives.len() <= COPIES_MAX && distinct.len() == drives.len()
}

fn segments_in_order(segments: &[LogSegment]) -> bool {
    segments.len() <= LIST_MAX
        && segments.is_sorted_by(|a, b| a.first < b.first)
        && segments.iter().all(|segment| copies_in_order(&segment.drives))
}

/// What had ended ends where it did, but for ownerships before the checkpoint's own, which stands for their ends. An end
/// holds for its ownership and for those before it that have none of their own.
fn ends_follow(known: &ShardRow, row: &ShardRow) -> bool {
    let in_order = row.ends.is_sorted_by(|a, b| a.epoch < b.epoch && a.seq <= b.seq)
        && row.ends.len() <= LIST_MAX
        && row.ends.iter().all(|end| end.epoch < row.epoch);
    let stays = |end: &EpochEnd| {
        let holds = row.ends.iter().find(|later| later.epoch >= end.epoch);
        holds.is_some_and(|holds| holds.seq == end.seq)
    };
    let forgotten =
        |end: &EpochEnd| row.checkpoint.as_ref().is_some_and(|root| end.epoch < root.position.epoch);
    let last = known.ends.last();
    let later = row.ends.iter().filter(|end| last.is_none_or(|last| end.epoch > last.epoch));
    in_order
        && known.ends.iter().all(|end| stays(end) || forgotten(end))
        && later.into_iter().all(|end| last.is_none_or(|last| end.seq >= last.seq))
}

fn checkpoint_follows(known: Option<&CheckpointRoot>, next: Option<&CheckpointRoot>) -> bool {
    match (known, next) {
        (None, None) => true,
        (None, Some(next)) => copies_in_order(&next.drives),
        (Some(_), None) => false,
        (Some(known), Some(next)) => copies_in_order(&next.drives) && next.position.seq >= known.position.seq,
    }
}

/// Whether the log goes on where the checkpoint ends.
fn nothing_lost(row: &ShardRow) -> bool {
    let covered = row.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position.seq);
    row.segments.first().is_none_or(|first| first.first <= covered.saturating_add(1))
}

#[cfg(test)]
mod tests;
