//! `ReadMap`: a page of a file's map, with the keys that it names.

use core::ops::Range;
use std::collections::BTreeSet;

use weft_types::{FileOffset, Inode};
use weft_wire::meta::{ENTRIES_MAX, MapEntry, MapPage, MetaError, MetaReply, ReadMap};

use crate::map::{Run, runs_behind};
use crate::{Context, Transaction, data_keys, extents, inodes};

pub(crate) fn run(tx: &dyn Transaction, cx: &Context<'_>, op: &ReadMap) -> Result<MetaReply, MetaError> {
    let file = inodes::file(tx, op.inode)?;
    // Runs beyond the length wait to be removed.
    let until = op.until.min(file.attributes.size);
    let limit = (op.limit.max(1) as usize).min(ENTRIES_MAX);
    page(tx, cx, op.inode, op.from..until, limit).map(MetaReply::Map)
}

/// The runs of a range that lies within the file's length, at most `limit`.
pub(super) fn page(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    asked: Range<u64>,
    limit: usize,
) -> Result<MapPage, MetaError> {
    let mut page = MapPage { entries: Vec::new(), end: true, keys: Vec::new() };
    // One run more than fits tells whether the page is the last.
    for run in runs_behind(tx, inode, asked.start, limit + 1)? {
        let start = run.start()?;
        if start >= asked.end {
            break;
        }
        if page.entries.len() == limit {
            page.end = false;
            break;
        }
        page.entries.push(entry(tx, start, &run)?);
    }
    let keys: BTreeSet<_> = page.entries.iter().map(|entry| entry.key).collect();
    for key in keys {
        page.keys.push(data_keys::grant(tx, cx.keys, key)?);
    }
    Ok(page)
}

fn entry(tx: &dyn Transaction, start: u64, run: &Run) -> Result<MapEntry, MetaError> {
    let extent = extents::get(tx, run.row.extent)?;
    let end = u64::from(run.row.extent_offset) + u64::from(run.row.len);
    if end > extent.geometry.plaintext_bytes().get() {
        return Err(MetaError::Damaged);
    }
    Ok(MapEntry {
        offset: FileOffset::new(start),
        len: run.row.len,
        extent: run.row.extent,
        extent_offset: run.row.extent_offset,
        geometry: extent.geometry,
        group: extent.group,
        key: run.row.key,
        group_epoch: extent.group_epoch,
    })
}
