//! Deletion of a whole filesystem: every extent's shards are deleted, then the metadata as a whole.

use weft_types::ExtentId;
use weft_wire::meta::MetaError;

use crate::reclaim::{pages, remove};
use crate::row::{ExtentRow, RowKey, range};
use crate::{Transaction, counters};

/// At most `limit` extents that still have shards on drives, in use and dead ones; empty when there are none.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn extents(tx: &dyn Transaction, limit: usize) -> Result<Vec<(ExtentId, ExtentRow)>, MetaError> {
    let mut page = pages(tx, &range::extents(None), limit)?;
    let dead = pages(tx, &range::dead_extents(None), limit.saturating_sub(page.len()))?;
    page.extend(dead);
    Ok(page)
}

/// The shards of these extents are gone from every drive. Maps still refer to them: nothing but the rest of the drop
/// may come after this.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not open.
pub fn forget(tx: &mut dyn Transaction, extents: &[ExtentId]) -> Result<(), MetaError> {
    remove(tx, extents, &[RowKey::Extent, RowKey::DeadExtent])
}

/// Extents that still have shards on drives.
///
/// # Errors
/// [`MetaError::Damaged`] when the counters do not decode.
pub fn extents_left(tx: &dyn Transaction) -> Result<u64, MetaError> {
    Ok(counters::get(tx)?.extents)
}
