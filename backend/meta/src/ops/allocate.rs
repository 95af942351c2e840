//! `Allocate`: a range of a file is made sure of, emptied or zeroed.

use core::ops::Range;

use weft_types::Inode;
use weft_wire::meta::{Allocate, Covered, MetaError, MetaReply};

use super::set_attributes::grow;
use crate::counters::remapped;
use crate::{Context, Transaction, counters, inodes, limits, map};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &Allocate) -> Result<MetaReply, MetaError> {
    let file = inodes::file(tx, op.inode)?;
    if op.len == 0 {
        return Err(MetaError::Invalid);
    }
    let (start, size) = (op.offset.get(), file.attributes.size);
    let end = start.checked_add(op.len).filter(|end| *end <= limits::FILE_BYTES_MAX);
    let end = end.ok_or(MetaError::FileTooLarge)?;
    let mut done = end;
    if op.mode.clears() && start < size {
        // Runs beyond the length wait to be removed.
        let within = start..end.min(size);
        let until = clear(tx, cx, op.inode, within.clone())?;
        if until < within.end {
            done = until;
        }
    }
    if op.mode.extends() && done == end {
        grow(tx, cx, op.inode, end)?;
    }
    let mut file = inodes::file(tx, op.inode)?;
    file.attributes.modified = cx.now;
    inodes::save_changed(tx, &mut file, cx.now);
    Ok(MetaReply::Covered(Covered { attributes: file.attributes, len: done - start }))
}

/// Takes a range out of a file's map, or as much of it as one operation may; answers up to where.
fn clear(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    part: Range<u64>,
) -> Result<u64, MetaError> {
    let mut file = inodes::file(tx, inode)?;
    let (cleared, until) = map::clear_some(tx, cx.now, (&file).into(), part, limits::INLINE_ROWS)?;
    counters::update(tx, |counters| counters.remap(0, cleared.bytes))?;
    file.attributes.allocated = remapped(file.attributes.allocated, 0, cleared.bytes)?;
    inodes::save(tx, &file);
    Ok(until)
}
