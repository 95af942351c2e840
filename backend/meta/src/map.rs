//! A file's map: runs of file bytes that are in extents. Runs never overlap; what is in none reads as zeroes.

use core::ops::Range;

use weft_types::{DataKeyId, Inode, Timestamp};
use weft_wire::meta::MetaError;

use crate::row::{InodeRow, MapRow, RowKey, range};
use crate::transaction::{scan, store};
use crate::{Transaction, data_keys, extents};

/// Runs that are read at a time.
const PAGE: usize = 256;
/// Runs that are read first: most changes touch one, and the next one shows that they touch no more. A row that is
/// read is also opened and decoded.
const FIRST_PAGE: usize = 2;

/// A file whose map is changed. Its runs may be in extents under another file's key, which they keep alive then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapped {
    pub(crate) inode: Inode,
    /// Its own key, which it keeps alive itself.
    pub(crate) key: Option<DataKeyId>,
}

impl From<&InodeRow> for Mapped {
    fn from(row: &InodeRow) -> Self {
        Self { inode: row.attributes.inode, key: row.key }
    }
}

impl Mapped {
    /// Another run of it is in an extent.
    pub(crate) fn hold(self, tx: &mut dyn Transaction, row: &MapRow) -> Result<(), MetaError> {
        extents::hold(tx, row.extent)?;
        if self.key == Some(row.key) { Ok(()) } else { data_keys::hold(tx, row.key) }
    }

    /// A run of it is no more.
    fn release(self, tx: &mut dyn Transaction, now: Timestamp, row: &MapRow) -> Result<(), MetaError> {
        extents::release(tx, now, row.extent)?;
        if self.key == Some(row.key) { Ok(()) } else { data_keys::release(tx, row.key) }
    }
}

/// A run: its row and the end that its key has.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) end: u64,
    pub(crate) row: MapRow,
}

impl Run {
    /// The first byte in the file.
    pub(crate) fn start(&self) -> Result<u64, MetaError> {
        self.end.checked_sub(self.row.len.into()).ok_or(MetaError::Damaged)
    }

    /// The part of it that is in a range of the file, if any is.
    pub(crate) fn within(&self, part: Range<u64>) -> Result<Option<Self>, MetaError> {
        let start = self.start()?;
        let (from, until) = (part.start.max(start), part.end.min(self.end));
        if from >= until {
            return Ok(None);
        }
        // Both are within the run, whose length is 32 bits.
        let len = u32::try_from(until - from).map_err(|_| MetaError::Damaged)?;
        let skipped = u32::try_from(from - start).map_err(|_| MetaError::Damaged)?;
        let extent_offset = self.row.extent_offset.checked_add(skipped).ok_or(MetaError::Damaged)?;
        Ok(Some(Self { end: until, row: MapRow { len, extent_offset, ..self.row.clone() } }))
    }
}

/// What was taken out of a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// Runs that were removed or became shorter.
    pub(crate) runs: usize,
    /// File bytes that were in a run and are in none now.
    pub(crate) bytes: u64,
}

/// At most `limit` runs that end behind `offset`, in the order of the file.
pub(crate) fn runs_behind(
    tx: &dyn Transaction,
    inode: Inode,
    offset: u64,
    limit: usize,
) -> Result<Vec<Run>, MetaError> {
    let rows = scan(tx, &range::map_behind(inode, offset), limit)?;
    rows.into_iter()
        .map(|(key, row)| match key {
            RowKey::MapEntry { end, .. } => Ok(Run { end, row }),
            _ => Err(MetaError::Damaged),
        })
        .collect()
}

/// Puts a run where the map has none. Its extent and its key already count it.
pub(crate) fn insert(tx: &mut dyn Transaction, inode: Inode, run: &Run) {
    store(tx, RowKey::MapEntry { inode, end: run.end }, &run.row);
}

/// Takes a range of the file out of its map: runs within go, runs across an edge keep what is outside.
pub(crate) fn clear(
    tx: &mut dyn Transaction,
    now: Timestamp,
    file: Mapped,
    part: Range<u64>,
) -> Result<Cleared, MetaError> {
    clear_some(tx, now, file, part, usize::MAX).map(|(cleared, _)| cleared)
}

/// As [`clear`], of at most `most` runs; answers up to where nothing of the range is in a run any more.
pub(crate) fn clear_some(
    tx: &mut dyn Transaction,
    now: Timestamp,
    file: Mapped,
    part: Range<u64>,
    most: usize,
) -> Result<(Cleared, u64), MetaError> {
    let mut cleared = Cleared::default();
    let (mut from, mut limit) = (part.start, FIRST_PAGE);
    loop {
        let page = runs_behind(tx, file.inode, from, limit)?;
        for run in &page {
            let start = run.start()?;
            if start >= part.end {
                return Ok((cleared, part.end));
            }
            if cleared.runs >= most {
                return Ok((cleared, start.max(part.start)));
            }
            cleared.runs += 1;
            cleared.bytes += cut(tx, now, file, run, &part)?;
        }
        match page.last() {
            Some(last) if page.len() == limit => (from, limit) = (last.end, PAGE),
            _ => return Ok((cleared, part.end)),
        }
    }
}

/// Cuts a range out of a run that overlaps it; answers how many bytes went.
fn cut(
    tx: &mut dyn Transaction,
    now: Timestamp,
    file: Mapped,
    run: &Run,
    part: &Range<u64>,
) -> Result<u64, MetaError> {
    let before = run.within(0..part.start)?;
    let behind = run.within(part.end..u64::MAX)?;
    let kept = [&before, &behind].into_iter().flatten().map(|run| u64::from(run.row.len)).sum::<u64>();
    if behind.is_none() {
        tx.delete(RowKey::MapEntry { inode: file.inode, end: run.end });
    }
    match (&before, &behind) {
        (None, None) => file.release(tx, now, &run.row)?,
        (Some(_), Some(_)) => file.hold(tx, &run.row)?,
        _ => {}
    }
    for rest in [&before, &behind].into_iter().flatten() {
        insert(tx, file.inode, rest);
    }
    Ok(u64::from(run.row.len) - kept)
}

/// Removes at most `limit` of the runs that end behind `offset`, none of which starts before it. Fewer than
/// `limit` were the last ones.
pub(crate) fn drop_behind(
    tx: &mut dyn Transaction,
    now: Timestamp,
    file: Mapped,
    offset: u64,
    limit: usize,
) -> Result<Cleared, MetaError> {
    let mut cleared = Cleared::default();
    for run in runs_behind(tx, file.inode, offset, limit)? {
        tx.delete(RowKey::MapEntry { inode: file.inode, end: run.end });
        file.release(tx, now, &run.row)?;
        cleared.runs += 1;
        cleared.bytes += u64::from(run.row.len);
    }
    Ok(cleared)
}
