//! Inodes: finding them, and giving and taking their names.

use weft_types::{Inode, Timestamp};
use weft_wire::meta::{FileKind, MetaError, Name, Removed};

use crate::counters::one_more;
use crate::row::{InodeRow, NamedInode, RowKey};
use crate::transaction::{load, load_known, store};
use crate::{Context, Transaction, dentries};

/// An inode. [`MetaError::NotFound`] when there is none.
pub(crate) fn find(tx: &dyn Transaction, inode: Inode) -> Result<InodeRow, MetaError> {
    load(tx, RowKey::Inode(inode))?.ok_or(MetaError::NotFound)
}

/// An inode that another row names.
pub(crate) fn known(tx: &dyn Transaction, inode: Inode) -> Result<InodeRow, MetaError> {
    load_known(tx, RowKey::Inode(inode))
}

/// A directory, which may have been removed.
pub(crate) fn directory(tx: &dyn Transaction, inode: Inode) -> Result<InodeRow, MetaError> {
    let row = find(tx, inode)?;
    if row.is_directory() { Ok(row) } else { Err(MetaError::NotDirectory) }
}

/// A directory that can get names. [`MetaError::NotFound`] for one that was removed.
pub(crate) fn living_directory(tx: &dyn Transaction, inode: Inode) -> Result<InodeRow, MetaError> {
    let row = directory(tx, inode)?;
    if row.attributes.links > 0 { Ok(row) } else { Err(MetaError::NotFound) }
}

/// A regular file.
pub(crate) fn file(tx: &dyn Transaction, inode: Inode) -> Result<InodeRow, MetaError> {
    let row = find(tx, inode)?;
    match row.attributes.kind {
        FileKind::File => Ok(row),
        FileKind::Directory => Err(MetaError::IsDirectory),
        _ => Err(MetaError::Invalid),
    }
}

/// Stores an inode's row.
pub(crate) fn save(tx: &mut dyn Transaction, row: &InodeRow) {
    store(tx, RowKey::Inode(row.attributes.inode), row);
}

/// Stores an inode's row as changed at this time.
pub(crate) fn save_changed(tx: &mut dyn Transaction, row: &mut InodeRow, now: Timestamp) {
    row.attributes.changed = now;
    row.attributes.change = row.attributes.change.wrapping_add(1);
    save(tx, row);
}

/// Gives an inode a name that its directory does not have, and counts it there. The inode's own row is the
/// caller's.
pub(crate) fn attach(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    entry: NamedInode,
) -> Result<(), MetaError> {
    let mut directory = known(tx, parent)?;
    directory.entries = one_more(directory.entries)?;
    let subdirectory = u32::from(entry.kind == FileKind::Directory);
    let links = directory.attributes.links.checked_add(subdirectory);
    directory.attributes.links = links.ok_or(MetaError::Damaged)?;
    dentries::put(tx, cx, parent, entry)?;
    save_listed(tx, &mut directory, cx.now);
    Ok(())
}

/// Takes a name off its directory.
pub(crate) fn detach(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: &Name,
    kind: FileKind,
) -> Result<(), MetaError> {
    let mut directory = known(tx, parent)?;
    let subdirectory = u32::from(kind == FileKind::Directory);
    let links = directory.attributes.links.checked_sub(subdirectory);
    directory.attributes.links = links.ok_or(MetaError::Damaged)?;
    directory.entries = directory.entries.checked_sub(1).ok_or(MetaError::Damaged)?;
    dentries::remove(tx, cx, parent, name)?;
    save_listed(tx, &mut directory, cx.now);
    Ok(())
}

/// Stores a directory whose names have changed.
fn save_listed(tx: &mut dyn Transaction, directory: &mut InodeRow, now: Timestamp) {
    directory.attributes.modified = now;
    save_changed(tx, directory, now);
}

/// Whether a directory can get one more subdirectory.
pub(crate) const fn check_subdirectories(directory: &InodeRow) -> Result<(), MetaError> {
    if directory.attributes.links < crate::limits::DIRECTORY_LINKS_MAX {
        Ok(())
    } else {
        Err(MetaError::TooManyLinks)
    }
}

/// An inode has lost a name. Without any it becomes an orphan of the session, which may have it open.
pub(crate) fn lose_name(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    mut row: InodeRow,
) -> Result<Removed, MetaError> {
    let links = if row.is_directory() { Some(0) } else { row.attributes.links.checked_sub(1) };
    row.attributes.links = links.ok_or(MetaError::Damaged)?;
    save_changed(tx, &mut row, cx.now);
    let orphaned = row.attributes.links == 0;
    if orphaned {
        let inode = row.attributes.inode;
        for session in cx.users.iter().copied().chain([cx.session]) {
            tx.put(RowKey::Orphan { session, inode }, Vec::new());
        }
        row.users = u32::try_from(cx.users.len()).ok().filter(|users| *users > 0);
        save(tx, &row);
    }
    Ok(Removed { attributes: row.attributes, orphaned })
}
