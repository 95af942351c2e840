//! `ListDirectory`: a page of names in the order of their cookies.
//!
//! A name's cookie is its hash, so it stays as long as the name does, whatever else comes and goes. Names that
//! share a hash share the cookie, and are always in one page.

use weft_types::{Inode, NameHash};
use weft_wire::meta::{DirectoryEntry, DirectoryPage, ListDirectory, MetaError, MetaReply};

use crate::row::{DentryRow, NamedInode, RowKey, range};
use crate::transaction::scan;
use crate::{Transaction, inodes, limits};

pub(crate) fn run(tx: &dyn Transaction, op: &ListDirectory) -> Result<MetaReply, MetaError> {
    inodes::directory(tx, op.inode)?;
    let limit = op.limit.clamp(1, limits::DIRECTORY_PAGE_MAX) as usize;
    // One row more than fits tells whether the page is the last.
    let rows: Vec<(RowKey, DentryRow)> = scan(tx, &range::dentries_after(op.inode, op.after), limit + 1)?;
    let mut page = DirectoryPage { entries: Vec::new(), end: true };
    for (key, row) in rows {
        if !page.entries.is_empty() && page.entries.len() + row.names.len() > limit {
            page.end = false;
            break;
        }
        let RowKey::Dentry { hash, .. } = key else { return Err(MetaError::Damaged) };
        for entry in row.names {
            page.entries.push(listed(tx, hash, entry, op.with_attributes)?);
        }
    }
    Ok(MetaReply::Directory(page))
}

fn listed(
    tx: &dyn Transaction,
    hash: NameHash,
    entry: NamedInode,
    with_attributes: bool,
) -> Result<DirectoryEntry, MetaError> {
    let attributes = |inode: Inode| inodes::known(tx, inode).map(|row| row.attributes);
    Ok(DirectoryEntry {
        cookie: hash.get(),
        attributes: with_attributes.then(|| attributes(entry.inode)).transpose()?,
        name: entry.name,
        inode: entry.inode,
        kind: entry.kind,
    })
}
