//! Where shards of extents lie: the membership of its group that an extent's row names, and moving on to a later one.

use weft_types::{Epoch, ExtentId};
use weft_wire::meta::MetaError;

use crate::reclaim::pages;
use crate::row::{ExtentRow, RowKey, range};
use crate::transaction::{load, store};
use crate::{Transaction, counters};

/// A place in a walk over all extents: first those in use, then dead ones. An extent only ever goes from the former to
/// the latter, so that a walk over several transactions misses none that was there all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Extents in use, after this one.
    InUse(Option<ExtentId>),
    /// Dead extents, after this one.
    Dead(Option<ExtentId>),
}

impl Cursor {
    /// Where a walk begins.
    pub const START: Self = Self::InUse(None);
}

/// A page of extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentPage {
    /// In the order of their ids; in use, unless their row says when they [died](ExtentRow::died).
    pub extents: Vec<(ExtentId, ExtentRow)>,
    /// Where to go on; `None` at the end. There may be more behind a page without any extent.
    pub next: Option<Cursor>,
}

/// At most `limit` extents, at least 1, from a place of the walk on.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn extents(tx: &dyn Transaction, from: Cursor, limit: usize) -> Result<ExtentPage, MetaError> {
    let limit = limit.max(1);
    let extents = match from {
        Cursor::InUse(after) => pages(tx, &range::extents(after), limit)?,
        Cursor::Dead(after) => pages(tx, &range::dead_extents(after), limit)?,
    };
    let last = extents.last().map(|(id, _)| *id).filter(|_| extents.len() >= limit);
    let next = match (from, last) {
        (Cursor::InUse(_), Some(last)) => Some(Cursor::InUse(Some(last))),
        (Cursor::InUse(_), None) => Some(Cursor::Dead(None)),
        (Cursor::Dead(_), last) => last.map(|last| Cursor::Dead(Some(last))),
    };
    Ok(ExtentPage { extents, next })
}

/// The row of an extent, in use or dead.
///
/// # Errors
/// [`MetaError::Damaged`] when it does not decode.
pub fn find(tx: &dyn Transaction, id: ExtentId) -> Result<Option<ExtentRow>, MetaError> {
    match load(tx, RowKey::Extent(id))? {
        Some(row) => Ok(Some(row)),
        None => load(tx, RowKey::DeadExtent(id)),
    }
}

/// Number of extents that have shards on drives, in use and dead.
///
/// # Errors
/// [`MetaError::Damaged`] when the counters do not decode.
pub fn count(tx: &dyn Transaction) -> Result<u64, MetaError> {
    Ok(counters::get(tx)?.extents)
}

/// An extent whose shards all lie by a later membership of its group than its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehomed {
    /// The extent.
    pub extent: ExtentId,
    /// The membership that its row names.
    pub from: Epoch,
    /// The membership by which its shards lie, all of them, durably.
    pub to: Epoch,
}

/// Records that extents lie by a later membership. Left alone are those that are gone, whose row does not name `from`
/// any more, and those that would go back. Answers how many were moved on.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn rehome(tx: &mut dyn Transaction, extents: &[Rehomed]) -> Result<usize, MetaError> {
    let mut moved = 0;
    for Rehomed { extent, from, to } in extents {
        for key in [RowKey::Extent(*extent), RowKey::DeadExtent(*extent)] {
            let Some(mut row) = load::<ExtentRow>(tx, key)? else { continue };
            if row.group_epoch == *from && *to > *from {
                row.group_epoch = *to;
                store(tx, key, &row);
                moved += 1;
            }
        }
    }
    Ok(moved)
}
