//! `Lookup`: the inode behind a name, or the parent of a directory.

use weft_layout::MAX_EXTENT_BYTES;
use weft_types::Inode;
use weft_wire::meta::{FOUND_ENTRIES_MAX, FileKind, Found, MapPage, MetaError, MetaReply, Name};

use super::read_map;
use crate::{Context, InodeRow, Transaction, dentries, inodes};

pub(crate) fn run(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: Option<&Name>,
    map_entries: Option<u32>,
) -> Result<MetaReply, MetaError> {
    let directory = inodes::directory(tx, parent)?;
    let row = match name {
        Some(name) => inodes::known(tx, dentries::get(tx, cx, parent, name)?.inode)?,
        // The parent of a removed directory may be gone as well.
        None => inodes::find(tx, directory.parent.ok_or(MetaError::Damaged)?)?,
    };
    let map = map_entries.and_then(|limit| whole_map(tx, cx, &row, limit));
    Ok(match map {
        Some(map) => MetaReply::Found(Found { attributes: row.attributes, map }),
        None => MetaReply::Attributes(row.attributes),
    })
}

/// The map of a regular file when it has at most so many entries. A map that cannot be read is none: who only wants the
/// attributes gets them, and who reads the file is told.
fn whole_map(tx: &dyn Transaction, cx: &Context<'_>, row: &InodeRow, limit: u32) -> Option<MapPage> {
    let limit = (limit as usize).min(FOUND_ENTRIES_MAX);
    let size = row.attributes.size;
    // A longer file has more entries, or holes: nothing is read to find out.
    let small = size <= limit as u64 * u64::from(MAX_EXTENT_BYTES);
    if limit == 0 || row.attributes.kind != FileKind::File || !small {
        return None;
    }
    read_map::page(tx, cx, row.attributes.inode, 0..size, limit).ok().filter(|page| page.end)
}
