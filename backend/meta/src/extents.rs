//! Extents, counted by the runs in maps that are in them.

use weft_types::{ExtentId, Timestamp};
use weft_wire::meta::MetaError;

use crate::counters::one_more;
use crate::row::{ExtentRow, RowKey};
use crate::transaction::{load_known, store};
use crate::{Transaction, counters};

/// Whether the id was committed before.
pub(crate) fn exists(tx: &dyn Transaction, id: ExtentId) -> Result<bool, MetaError> {
    Ok(tx.get(&RowKey::Extent(id))?.is_some() || tx.get(&RowKey::DeadExtent(id))?.is_some())
}

/// An extent that a map refers to.
pub(crate) fn get(tx: &dyn Transaction, id: ExtentId) -> Result<ExtentRow, MetaError> {
    load_known(tx, RowKey::Extent(id))
}

/// Makes an extent's row; with no reference it is dead from the start.
pub(crate) fn make(
    tx: &mut dyn Transaction,
    now: Timestamp,
    id: ExtentId,
    row: &ExtentRow,
) -> Result<(), MetaError> {
    put(tx, now, id, row);
    counters::update(tx, |counters| {
        counters.extents = one_more(counters.extents)?;
        Ok(())
    })
}

/// Counts one more reference.
pub(crate) fn hold(tx: &mut dyn Transaction, id: ExtentId) -> Result<(), MetaError> {
    let mut row = get(tx, id)?;
    row.references = one_more(row.references)?;
    store(tx, RowKey::Extent(id), &row);
    Ok(())
}

/// Counts one reference less; the last one makes it dead.
pub(crate) fn release(tx: &mut dyn Transaction, now: Timestamp, id: ExtentId) -> Result<(), MetaError> {
    let mut row = get(tx, id)?;
    row.references = row.references.checked_sub(1).ok_or(MetaError::Damaged)?;
    put(tx, now, id, &row);
    Ok(())
}

fn put(tx: &mut dyn Transaction, now: Timestamp, id: ExtentId, row: &ExtentRow) {
    if row.references > 0 {
        store(tx, RowKey::Extent(id), row);
        return;
    }
    tx.delete(RowKey::Extent(id));
    store(tx, RowKey::DeadExtent(id), &ExtentRow { died: Some(now), ..row.clone() });
}
