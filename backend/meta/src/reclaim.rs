//! Garbage: extents that nothing refers to, until their shards are off the drives.

use weft_types::{ExtentId, Timestamp};
use weft_wire::meta::MetaError;

use crate::row::{ExtentRow, RowKey, range};
use crate::transaction::scan;
use crate::{Transaction, counters};

/// What the metadata knows of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentState {
    /// Maps refer to it.
    InUse,
    /// No map refers to it any more.
    Dead,
    /// It was never committed, or is forgotten. Garbage once its session has ended.
    Unknown,
}

/// What the metadata knows of an extent that a drive holds a shard of.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not open.
pub fn state(tx: &dyn Transaction, id: ExtentId) -> Result<ExtentState, MetaError> {
    if tx.get(&RowKey::Extent(id))?.is_some() {
        return Ok(ExtentState::InUse);
    }
    let dead = tx.get(&RowKey::DeadExtent(id))?.is_some();
    Ok(if dead { ExtentState::Dead } else { ExtentState::Unknown })
}

/// A page of dead extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadPage {
    /// Those that died before the asked time, in the order of their ids.
    pub extents: Vec<(ExtentId, ExtentRow)>,
    /// Where to go on; `None` at the end. There may be more behind a page without any extent.
    pub next: Option<ExtentId>,
}

/// Looks at `limit` dead extents, at least 1, after `after`, for those that died before `before`: readers may still
/// be at younger ones.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn dead_extents(
    tx: &dyn Transaction,
    before: Timestamp,
    after: Option<ExtentId>,
    limit: usize,
) -> Result<DeadPage, MetaError> {
    let rows = pages(tx, &range::dead_extents(after), limit.max(1))?;
    let next = rows.last().map(|(id, _)| *id).filter(|_| rows.len() >= limit.max(1));
    let old = rows.into_iter().filter(|(_, row)| row.died.is_none_or(|died| died < before));
    Ok(DeadPage { extents: old.collect(), next })
}

/// The shards of these dead extents are gone from every drive: takes them off the list. Others are left alone.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not open.
pub fn forget(tx: &mut dyn Transaction, extents: &[ExtentId]) -> Result<(), MetaError> {
    remove(tx, extents, &[RowKey::DeadExtent])
}

/// Removes the rows of extents, of the kinds given.
pub(crate) fn remove(
    tx: &mut dyn Transaction,
    extents: &[ExtentId],
    kinds: &[fn(ExtentId) -> RowKey],
) -> Result<(), MetaError> {
    let mut gone = 0;
    for key in extents.iter().flat_map(|id| kinds.iter().map(|kind| kind(*id))) {
        if tx.get(&key)?.is_some() {
            tx.delete(key);
            gone += 1;
        }
    }
    counters::update(tx, |counters| {
        counters.extents = counters.extents.checked_sub(gone).ok_or(MetaError::Damaged)?;
        Ok(())
    })
}

/// Rows of extents, in use or dead.
pub(crate) fn pages(
    tx: &dyn Transaction,
    range: &range::Range,
    limit: usize,
) -> Result<Vec<(ExtentId, ExtentRow)>, MetaError> {
    let rows = scan(tx, range, limit)?;
    rows.into_iter()
        .map(|(key, row)| match key {
            RowKey::Extent(id) | RowKey::DeadExtent(id) => Ok((id, row)),
            _ => Err(MetaError::Damaged),
        })
        .collect()
}
