//! Data keys, counted by the inodes that use them, and by the runs of other inodes that are in extents under them.

use minicbor::bytes::ByteVec;
use weft_types::DataKeyId;
use weft_wire::meta::{KeyGrant, MetaError};

use crate::counters::one_more;
use crate::row::{CountersRow, DataKeyRow, RowKey};
use crate::transaction::{load, load_known, store};
use crate::{KeyMaker, Transaction, counters};

/// Makes a key that one inode uses.
pub(crate) fn make(tx: &mut dyn Transaction, keys: &dyn KeyMaker) -> Result<KeyGrant, MetaError> {
    let id = counters::update(tx, CountersRow::take_key)?;
    let new = keys.fresh(id)?;
    store(tx, RowKey::DataKey(id), &DataKeyRow { wrapped: ByteVec::from(new.wrapped), references: 1 });
    Ok(KeyGrant { id, key: new.key })
}

/// A key, opened; `None` for no such key.
pub(crate) fn find(
    tx: &dyn Transaction,
    keys: &dyn KeyMaker,
    id: DataKeyId,
) -> Result<Option<KeyGrant>, MetaError> {
    let row = load::<DataKeyRow>(tx, RowKey::DataKey(id))?;
    row.map(|row| Ok(KeyGrant { id, key: keys.unwrap(id, &row.wrapped)? })).transpose()
}

/// A key that another row names, opened.
pub(crate) fn grant(tx: &dyn Transaction, keys: &dyn KeyMaker, id: DataKeyId) -> Result<KeyGrant, MetaError> {
    find(tx, keys, id)?.ok_or(MetaError::Damaged)
}

/// One more uses the key.
pub(crate) fn hold(tx: &mut dyn Transaction, id: DataKeyId) -> Result<(), MetaError> {
    let key = RowKey::DataKey(id);
    let mut row: DataKeyRow = load_known(tx, key)?;
    row.references = one_more(row.references)?;
    store(tx, key, &row);
    Ok(())
}

/// One less uses the key.
pub(crate) fn release(tx: &mut dyn Transaction, id: DataKeyId) -> Result<(), MetaError> {
    let key = RowKey::DataKey(id);
    let mut row: DataKeyRow = load_known(tx, key)?;
    row.references = row.references.checked_sub(1).ok_or(MetaError::Damaged)?;
    if row.references == 0 {
        tx.delete(key);
    } else {
        store(tx, key, &row);
    }
    Ok(())
}
