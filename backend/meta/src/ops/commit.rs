//! `Commit` and `CommitFiles`: sealed extents become part of a file, or of several.

use std::collections::BTreeSet;

use weft_types::{DataKeyId, Inode};
use weft_wire::meta::{Attributes, Commit, ENTRIES_MAX, FILES_MAX, MetaError, MetaReply, NewExtent};

use super::set_attributes::{change, changed, checked_time, grow};
use crate::counters::remapped;
use crate::map::{self, Mapped, Run};
use crate::row::{ExtentRow, MapRow};
use crate::{Context, Transaction, counters, extents, inodes, limits};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &Commit) -> Result<MetaReply, MetaError> {
    let mut replaced = Replaced { runs: 0, divisible: op.extents.len() > 1 };
    commit(tx, cx, op, &mut replaced).map(MetaReply::Attributes)
}

pub(crate) fn run_all(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    commits: &[Commit],
) -> Result<MetaReply, MetaError> {
    let mut files = BTreeSet::new();
    if commits.len() > FILES_MAX || !commits.iter().all(|op| files.insert(op.inode)) {
        return Err(MetaError::Invalid);
    }
    let extents: usize = commits.iter().map(|op| op.extents.len()).sum();
    if extents > ENTRIES_MAX {
        return Err(MetaError::Invalid);
    }
    let mut replaced = Replaced { runs: 0, divisible: extents > 1 };
    let committed = commits.iter().map(|op| commit(tx, cx, op, &mut replaced));
    committed.collect::<Result<_, _>>().map(MetaReply::Committed)
}

/// Runs that an operation replaces, of whichever file: so much is held in memory until it is done.
struct Replaced {
    runs: usize,
    /// Its extents can be committed one by one.
    divisible: bool,
}

fn commit(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &Commit,
    replaced: &mut Replaced,
) -> Result<Attributes, MetaError> {
    let file = inodes::file(tx, op.inode)?;
    check(tx, cx, op, file.key.ok_or(MetaError::Damaged)?)?;
    grow(tx, cx, op.inode, op.size_min)?;
    let mut file = inodes::file(tx, op.inode)?;
    let (mut more, mut less) = (0, 0);
    for extent in &op.extents {
        let bytes = place(tx, cx, op.inode, extent, file.attributes.size)?;
        more += bytes.mapped;
        less += bytes.replaced.bytes;
        replaced.runs += bytes.replaced.runs;
        if replaced.divisible && replaced.runs > limits::REPLACED_RUNS_MAX {
            return Err(MetaError::Invalid);
        }
    }
    counters::update(tx, |counters| counters.remap(more, less))?;
    let attributes = &mut file.attributes;
    attributes.allocated = remapped(attributes.allocated, more, less)?;
    if let Some(modified) = op.modified {
        attributes.modified = checked_time(modified)?;
        attributes.changed = attributes.changed.max(modified);
    }
    if let Some(changes) = &op.attributes {
        // A length would cut off what this very operation puts there.
        if changes.size.is_some() {
            return Err(MetaError::Invalid);
        }
        change(tx, cx, &mut file, changes)?;
        file.attributes.changed = changed(&file, changes, cx.now)?;
    }
    // A commit is no change by itself: the mount has shown its times since it was written.
    let changed = file.attributes.changed;
    inodes::save_changed(tx, &mut file, changed);
    Ok(file.attributes)
}

/// Whether these extents may be put into this file.
fn check(tx: &dyn Transaction, cx: &Context<'_>, op: &Commit, key: DataKeyId) -> Result<(), MetaError> {
    if op.size_min > limits::FILE_BYTES_MAX {
        return Err(MetaError::FileTooLarge);
    }
    check_extents(tx, cx, &op.extents, key).map(drop)
}

/// Whether these extents may be put into a file with this key, and do not overlap. Answers the ranges of the file that
/// they cover, in order.
pub(super) fn check_extents(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    extents: &[NewExtent],
    key: DataKeyId,
) -> Result<Vec<(u64, u64)>, MetaError> {
    if extents.len() > ENTRIES_MAX {
        return Err(MetaError::Invalid);
    }
    let mut ids = BTreeSet::new();
    let mut ranges = Vec::with_capacity(extents.len());
    for extent in extents {
        ranges.push((extent.offset.get(), end_of(extent)?));
        check_extent(tx, cx, extent)?;
        if !ids.insert(extent.extent) || extent.key != key {
            return Err(MetaError::Invalid);
        }
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).any(|pair| pair[0].1 > pair[1].0);
    if overlap { Err(MetaError::Invalid) } else { Ok(ranges) }
}

/// Whether the extent is this session's, new, and written to a membership of its group that still counts.
fn check_extent(tx: &dyn Transaction, cx: &Context<'_>, extent: &NewExtent) -> Result<(), MetaError> {
    let own = extent.extent.session == cx.session;
    if !own || extents::exists(tx, extent.extent)? {
        return Err(MetaError::ForeignExtent);
    }
    let floor = cx.groups.floor(extent.group).ok_or(MetaError::ForeignExtent)?;
    if extent.group_epoch >= floor { Ok(()) } else { Err(MetaError::StaleGroup) }
}

/// The first byte behind an extent.
fn end_of(extent: &NewExtent) -> Result<u64, MetaError> {
    let end = extent.offset.get().checked_add(extent.geometry.plaintext_bytes().get());
    end.filter(|end| *end <= limits::FILE_BYTES_MAX).ok_or(MetaError::FileTooLarge)
}

/// What an extent did to the map.
pub(super) struct Placed {
    /// File bytes that are in it.
    pub(super) mapped: u64,
    /// What it replaced.
    pub(super) replaced: map::Cleared,
}

/// Puts an extent into the map. What lies beyond the file's length was cut off while it was on its way; an extent
/// wholly beyond is dead from the start.
pub(super) fn place(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    extent: &NewExtent,
    size: u64,
) -> Result<Placed, MetaError> {
    let start = extent.offset.get();
    let end = end_of(extent)?.min(size);
    let mapped = end.saturating_sub(start);
    let row = ExtentRow {
        geometry: extent.geometry,
        group: extent.group,
        group_epoch: extent.group_epoch,
        references: u64::from(mapped > 0),
        died: None,
    };
    extents::make(tx, cx.now, extent.extent, &row)?;
    if mapped == 0 {
        return Ok(Placed { mapped, replaced: map::Cleared::default() });
    }
    let replaced = map::clear(tx, cx.now, Mapped { inode, key: Some(extent.key) }, start..end)?;
    // An extent's bytes are fewer than 2^32.
    let len = u32::try_from(mapped).map_err(|_| MetaError::Invalid)?;
    let row = MapRow { len, extent: extent.extent, extent_offset: 0, key: extent.key };
    map::insert(tx, inode, &Run { end, row });
    Ok(Placed { mapped, replaced })
}
