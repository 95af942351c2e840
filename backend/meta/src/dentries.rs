//! Dentries: the rows that hold a directory's names.

use weft_types::Inode;
use weft_wire::meta::{MetaError, Name};

use crate::row::{DentryRow, NamedInode, RowKey};
use crate::transaction::{load, store};
use crate::{Context, Transaction};

fn key(cx: &Context<'_>, parent: Inode, name: &Name) -> RowKey {
    RowKey::Dentry { parent, hash: cx.names.hash(parent, name.as_bytes()) }
}

/// What a directory has under a name.
pub(crate) fn find(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: &Name,
) -> Result<Option<NamedInode>, MetaError> {
    let row: DentryRow = load(tx, key(cx, parent, name))?.unwrap_or_default();
    Ok(row.names.into_iter().find(|entry| entry.name == *name))
}

/// What a directory has under a name. [`MetaError::NotFound`] when it has nothing.
pub(crate) fn get(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: &Name,
) -> Result<NamedInode, MetaError> {
    find(tx, cx, parent, name)?.ok_or(MetaError::NotFound)
}

/// Makes a name lead to an inode, whether it is new or led to another one.
pub(crate) fn put(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    entry: NamedInode,
) -> Result<(), MetaError> {
    let key = key(cx, parent, &entry.name);
    let mut row: DentryRow = load(tx, key)?.unwrap_or_default();
    match row.names.binary_search_by(|other| other.name.cmp(&entry.name)) {
        Ok(at) => row.names[at] = entry,
        Err(at) => row.names.insert(at, entry),
    }
    store(tx, key, &row);
    Ok(())
}

/// Removes a name that is there.
pub(crate) fn remove(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: &Name,
) -> Result<(), MetaError> {
    let key = key(cx, parent, name);
    let mut row: DentryRow = load(tx, key)?.unwrap_or_default();
    let at = row.names.iter().position(|other| other.name == *name).ok_or(MetaError::Damaged)?;
    row.names.remove(at);
    if row.names.is_empty() {
        tx.delete(key);
    } else {
        store(tx, key, &row);
    }
    Ok(())
}
