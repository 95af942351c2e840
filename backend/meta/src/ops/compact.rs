//! `Compact`: extents take the place of others with the same bytes, if the map is still as it was read.

use weft_wire::meta::{Compact, ENTRIES_MAX, MapEntry, MetaError, MetaReply};

use super::commit::{check_extents, place};
use crate::counters::remapped;
use crate::map::{Run, runs_behind};
use crate::{Context, Transaction, counters, inodes};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &Compact) -> Result<MetaReply, MetaError> {
    let mut file = inodes::file(tx, op.inode)?;
    let end = op.start.get().checked_add(op.len).ok_or(MetaError::Invalid)?;
    let ranges = check_extents(tx, cx, &op.extents, file.key.ok_or(MetaError::Damaged)?)?;
    let beyond = ranges.iter().any(|range| range.0 < op.start.get() || range.1 > end);
    if beyond || op.expected.len() > ENTRIES_MAX || !covers(&ranges, &op.expected) {
        return Err(MetaError::Invalid);
    }
    // A file that became shorter may still have runs beyond its end that are to be removed.
    let size = file.attributes.size;
    let shortened = ranges.last().is_some_and(|range| range.1 > size);
    if shortened || !is_as_expected(tx, op, end.min(size))? {
        return Err(MetaError::MapChanged);
    }
    let (mut more, mut less) = (0, 0);
    for extent in &op.extents {
        let bytes = place(tx, cx, op.inode, extent, size)?;
        more += bytes.mapped;
        less += bytes.replaced.bytes;
    }
    if more != less {
        counters::update(tx, |counters| counters.remap(more, less))?;
        file.attributes.allocated = remapped(file.attributes.allocated, more, less)?;
        inodes::save(tx, &file);
    }
    Ok(MetaReply::Done)
}

/// Whether every byte that is in an expected run is in a range, too: nothing of the file may get lost.
fn covers(ranges: &[(u64, u64)], expected: &[MapEntry]) -> bool {
    expected.iter().all(|entry| {
        let (mut from, end) = (entry.offset.get(), entry.offset.get().saturating_add(entry.len.into()));
        let first = ranges.partition_point(|range| range.1 <= from);
        for range in &ranges[first..] {
            if range.0 > from || from >= end {
                break;
            }
            from = range.1;
        }
        from >= end
    })
}

/// Whether the runs of the map from the start of the range up to `end` are those that were read, and no others.
fn is_as_expected(tx: &dyn Transaction, op: &Compact, end: u64) -> Result<bool, MetaError> {
    let part = op.start.get()..end;
    let mut expected = op.expected.iter();
    for run in runs_behind(tx, op.inode, op.start.get(), op.expected.len() + 1)? {
        let Some(run) = run.within(part.clone())? else { break };
        match expected.next() {
            Some(entry) if is_same(entry, &run)? => {}
            _ => return Ok(false),
        }
    }
    Ok(expected.next().is_none())
}

fn is_same(entry: &MapEntry, run: &Run) -> Result<bool, MetaError> {
    let at = entry.offset.get() == run.start()? && entry.len == run.row.len;
    Ok(at && entry.extent == run.row.extent && entry.extent_offset == run.row.extent_offset)
}
