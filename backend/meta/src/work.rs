//! Work that is too long for one transaction: rows that nobody can see any more are removed bit by bit.

use weft_types::{Inode, SessionId, Timestamp};
use weft_wire::meta::MetaError;

use crate::counters::remapped;
use crate::map::Mapped;
use crate::row::{InodeRow, ReapingRow, RowKey, range};
use crate::transaction::{load, load_known, store};
use crate::{Transaction, counters, data_keys, inodes, limits, map};

/// Whether work is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// None is left.
    Done,
    /// Call again, in another transaction.
    More,
}

/// Removes about `budget` rows, at least one, of what ended sessions, removed inodes and shortened files left.
///
/// A file that was shortened must have its work done before it grows again, or else the operation that makes it
/// grow does all of it. What is left over by a crash is still here after a takeover.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode; the rows stay.
pub fn continue_work(tx: &mut dyn Transaction, now: Timestamp, budget: usize) -> Result<Progress, MetaError> {
    let mut budget = Budget(budget.max(1));
    let (from, until) = range::work();
    loop {
        let Some((key, _)) = tx.scan(&from, &until, 1)?.pop() else { return Ok(Progress::Done) };
        if budget.is_spent() {
            return Ok(Progress::More);
        }
        match key {
            RowKey::Truncating(inode) => truncate(tx, now, inode, &mut budget)?,
            RowKey::Reaping(inode) => reap(tx, now, inode, &mut budget)?,
            RowKey::Ending(session) => end(tx, session, &mut budget)?,
            _ => return Err(MetaError::Damaged),
        }
    }
}

/// Rows that may still be removed.
pub(crate) struct Budget(usize);

impl Budget {
    /// What an operation does itself.
    pub(crate) const fn inline() -> Self {
        Self(limits::INLINE_ROWS)
    }

    const fn is_spent(&self) -> bool {
        self.0 == 0
    }

    const fn spend(&mut self, rows: usize) {
        self.0 = self.0.saturating_sub(rows);
    }
}

/// Removes runs beyond the file's length, which is already the new one; leaves a work row when some are left.
pub(crate) fn truncate(
    tx: &mut dyn Transaction,
    now: Timestamp,
    inode: Inode,
    budget: &mut Budget,
) -> Result<(), MetaError> {
    let Some(mut row) = load::<InodeRow>(tx, RowKey::Inode(inode))? else {
        tx.delete(RowKey::Truncating(inode));
        return Ok(());
    };
    let limit = budget.0;
    let cleared = map::drop_behind(tx, now, (&row).into(), row.attributes.size, limit)?;
    row.attributes.allocated = remapped(row.attributes.allocated, 0, cleared.bytes)?;
    inodes::save(tx, &row);
    counters::update(tx, |counters| counters.remap(0, cleared.bytes))?;
    budget.spend(cleared.runs);
    if cleared.runs < limit {
        tx.delete(RowKey::Truncating(inode));
        budget.spend(1);
    } else {
        tx.put(RowKey::Truncating(inode), Vec::new());
    }
    Ok(())
}

/// Finishes what is left of an earlier truncation, so that the file can grow.
pub(crate) fn settle(tx: &mut dyn Transaction, now: Timestamp, inode: Inode) -> Result<(), MetaError> {
    while tx.get(&RowKey::Truncating(inode))?.is_some() {
        truncate(tx, now, inode, &mut Budget::inline())?;
    }
    Ok(())
}

/// Collects an orphan of a session: when no other session has it open the inode is gone at once, and its other rows become
/// work. Answers whether it is.
pub(crate) fn collect(tx: &mut dyn Transaction, session: SessionId, inode: Inode) -> Result<bool, MetaError> {
    let orphan = RowKey::Orphan { session, inode };
    if tx.get(&orphan)?.is_none() {
        return Ok(false);
    }
    tx.delete(orphan);
    let Some(mut row) = load::<InodeRow>(tx, RowKey::Inode(inode))? else { return Ok(false) };
    if let Some(others) = row.users {
        row.users = others.checked_sub(1).filter(|others| *others > 0);
        inodes::save(tx, &row);
        return Ok(false);
    }
    tx.delete(RowKey::Inode(inode));
    tx.delete(RowKey::Truncating(inode));
    store(tx, RowKey::Reaping(inode), &ReapingRow { key: row.key });
    counters::update(tx, |counters| counters.drop_inode())?;
    Ok(true)
}

/// Removes rows of an inode that is gone.
pub(crate) fn reap(
    tx: &mut dyn Transaction,
    now: Timestamp,
    inode: Inode,
    budget: &mut Budget,
) -> Result<(), MetaError> {
    let row: ReapingRow = load_known(tx, RowKey::Reaping(inode))?;
    let cleared = map::drop_behind(tx, now, Mapped { inode, key: row.key }, 0, budget.0)?;
    counters::update(tx, |counters| counters.remap(0, cleared.bytes))?;
    budget.spend(cleared.runs);
    let (from, until) = range::xattrs(inode);
    let xattrs = tx.scan(&from, &until, budget.0)?;
    budget.spend(xattrs.len());
    xattrs.into_iter().for_each(|(key, _)| tx.delete(key));
    if budget.is_spent() {
        return Ok(());
    }
    if let Some(key) = row.key {
        data_keys::release(tx, key)?;
    }
    tx.delete(RowKey::Symlink(inode));
    tx.delete(RowKey::Reaping(inode));
    budget.spend(1);
    Ok(())
}

/// Collects orphans and slots of a session that has ended.
fn end(tx: &mut dyn Transaction, session: SessionId, budget: &mut Budget) -> Result<(), MetaError> {
    let (from, until) = range::orphans(session);
    let orphans = tx.scan(&from, &until, budget.0)?;
    budget.spend(orphans.len());
    for (key, _) in orphans {
        if let RowKey::Orphan { inode, .. } = key {
            collect(tx, session, inode)?;
        }
    }
    let (from, until) = range::slots(session);
    let slots = tx.scan(&from, &until, budget.0)?;
    budget.spend(slots.len());
    slots.into_iter().for_each(|(key, _)| tx.delete(key));
    if budget.is_spent() {
        return Ok(());
    }
    tx.delete(RowKey::Ending(session));
    budget.spend(1);
    Ok(())
}
