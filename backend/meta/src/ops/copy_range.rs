//! `CopyRange`: a range of a file is put in another place. Nothing is copied: both places refer to the same extents.

use core::ops::Range;

use weft_types::Inode;
use weft_wire::meta::{CopyRange, Covered, MetaError, MetaReply};

use super::set_attributes::grow;
use crate::counters::remapped;
use crate::map::{self, Mapped, Run};
use crate::{Context, Transaction, counters, inodes, limits, work};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &CopyRange,
) -> Result<MetaReply, MetaError> {
    let (from, to) = (inodes::file(tx, op.from)?, inodes::file(tx, op.to)?);
    let (start, target) = (op.from_offset.get(), op.to_offset.get());
    let len = op.len.min(from.attributes.size.saturating_sub(start));
    if len == 0 {
        return Ok(MetaReply::Covered(Covered { attributes: to.attributes, len }));
    }
    if target.checked_add(len).is_none_or(|end| end > limits::FILE_BYTES_MAX) {
        return Err(MetaError::FileTooLarge);
    }
    if op.from == op.to && start < target + len && target < start + len {
        return Err(MetaError::Invalid);
    }
    // What was cut off must not be in the way.
    work::settle(tx, cx.now, op.to)?;
    let (runs, len) = source(tx, op.from, start..start + len)?;
    let (cleared, until) =
        map::clear_some(tx, cx.now, (&to).into(), target..target + len, limits::COPIED_RUNS_MAX)?;
    let len = until - target;
    let mapped = place(tx, &runs, start..start + len, (&to).into(), target)?;
    grow(tx, cx, op.to, target + len)?;
    counters::update(tx, |counters| counters.remap(mapped, cleared.bytes))?;
    let mut to = inodes::file(tx, op.to)?;
    to.attributes.allocated = remapped(to.attributes.allocated, mapped, cleared.bytes)?;
    to.attributes.modified = cx.now;
    inodes::save_changed(tx, &mut to, cx.now);
    Ok(MetaReply::Covered(Covered { attributes: to.attributes, len }))
}

/// The runs of a range, and for how many of its bytes they are all.
fn source(tx: &dyn Transaction, inode: Inode, part: Range<u64>) -> Result<(Vec<Run>, u64), MetaError> {
    let mut runs = Vec::new();
    for run in map::runs_behind(tx, inode, part.start, limits::COPIED_RUNS_MAX + 1)? {
        let Some(run) = run.within(part.clone())? else { break };
        if runs.len() == limits::COPIED_RUNS_MAX {
            return Ok((runs, run.start()? - part.start));
        }
        runs.push(run);
    }
    Ok((runs, part.end - part.start))
}

/// Puts what of the runs is in a part of their file into another place, where no run is; answers how many bytes they are.
fn place(
    tx: &mut dyn Transaction,
    runs: &[Run],
    part: Range<u64>,
    to: Mapped,
    target: u64,
) -> Result<u64, MetaError> {
    let mut mapped = 0;
    for run in runs {
        let Some(run) = run.within(part.clone())? else { break };
        to.hold(tx, &run.row)?;
        map::insert(tx, to.inode, &Run { end: run.end - part.start + target, row: run.row.clone() });
        mapped += u64::from(run.row.len);
    }
    Ok(mapped)
}
