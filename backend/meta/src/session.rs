//! Sessions: who may ask, and what is collected when they go.

use weft_types::{SessionId, Timestamp};
use weft_wire::meta::MetaError;

use crate::Transaction;
use crate::row::{ClosingRow, RowKey, SessionRow, range};
use crate::transaction::{load, scan, store};

/// Ended sessions that are looked at; should there be more, the first are dealt with first.
const ENDED_MAX: usize = 1 << 16;

/// Registers a session. The runner sees to it that the id was never used before, and that at most one session
/// writes: [`list`] shows those that are open.
pub fn open(tx: &mut dyn Transaction, id: SessionId, session: &SessionRow) {
    store(tx, RowKey::Session(id), session);
}

/// An open session; `None` when it has ended, or never was.
///
/// # Errors
/// [`MetaError::Damaged`] when its row does not decode.
pub fn find(tx: &dyn Transaction, id: SessionId) -> Result<Option<SessionRow>, MetaError> {
    load(tx, RowKey::Session(id))
}

/// At most `limit` open sessions in the order of their ids, after one of them.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn list(
    tx: &dyn Transaction,
    after: Option<SessionId>,
    limit: usize,
) -> Result<Vec<(SessionId, SessionRow)>, MetaError> {
    let rows = scan(tx, &range::sessions(after), limit)?;
    rows.into_iter()
        .map(|(key, row)| match key {
            RowKey::Session(id) => Ok((id, row)),
            _ => Err(MetaError::Damaged),
        })
        .collect()
}

/// Whether the session may ask for an operation.
///
/// # Errors
/// [`MetaError::SessionEnded`] for a session that is not open, [`MetaError::ReadOnly`] for a mutation by a session
/// that only reads.
pub fn check(tx: &dyn Transaction, id: SessionId, mutation: bool) -> Result<(), MetaError> {
    let session = find(tx, id)?.ok_or(MetaError::SessionEnded)?;
    if mutation && session.read_only { Err(MetaError::ReadOnly) } else { Ok(()) }
}

/// Ends a session, because it closed or because it expired: irreversible once durable. None of its extents can be
/// committed any more. Its orphans and slots are left to [`continue_work`](crate::continue_work), and it is
/// [closing] from now on. Answers whether it was open.
///
/// # Errors
/// [`MetaError::Damaged`] when its row does not decode.
pub fn end(tx: &mut dyn Transaction, id: SessionId, now: Timestamp) -> Result<bool, MetaError> {
    if find(tx, id)?.is_none() {
        return Ok(false);
    }
    tx.delete(RowKey::Session(id));
    tx.put(RowKey::Ending(id), Vec::new());
    store(tx, RowKey::Closing(id), &ClosingRow { ended: now, closed: None });
    Ok(true)
}

/// What a filesystem knows of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It may commit.
    Open,
    /// It has ended; a drive may still take shards of it.
    Closing,
    /// It has ended and every drive had closed it by then: no shard of it is put any more, and those of extents
    /// without a row never get one.
    Closed(Timestamp),
    /// It was never of this filesystem; or it has ended, was closed everywhere, and is
    /// [forgotten](forget_closed).
    Unknown,
}

/// What is known of a session.
///
/// # Errors
/// [`MetaError::Damaged`] when its row does not decode.
pub fn state(tx: &dyn Transaction, id: SessionId) -> Result<SessionState, MetaError> {
    if find(tx, id)?.is_some() {
        return Ok(SessionState::Open);
    }
    Ok(match load::<ClosingRow>(tx, RowKey::Closing(id))? {
        None => SessionState::Unknown,
        Some(ClosingRow { closed: None, .. }) => SessionState::Closing,
        Some(ClosingRow { closed: Some(closed), .. }) => SessionState::Closed(closed),
    })
}

/// At most `limit` sessions that have ended and that some drive may not have closed, in the order of their ids, each
/// with the time of its end. They are to be ended at management, then closed at every drive, once their end is durable.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn closing(tx: &dyn Transaction, limit: usize) -> Result<Vec<(SessionId, Timestamp)>, MetaError> {
    let rows = ended(tx)?.into_iter().filter(|(_, row)| row.closed.is_none());
    Ok(rows.map(|(id, row)| (id, row.ended)).take(limit).collect())
}

/// Management has ended this closing session and every drive has closed it. Answers whether it was closing.
///
/// # Errors
/// [`MetaError::Damaged`] when its row does not decode.
pub fn closed_everywhere(tx: &mut dyn Transaction, id: SessionId, now: Timestamp) -> Result<bool, MetaError> {
    let Some(row) = load::<ClosingRow>(tx, RowKey::Closing(id))?.filter(|row| row.closed.is_none()) else {
        return Ok(false);
    };
    store(tx, RowKey::Closing(id), &ClosingRow { closed: Some(now), ..row });
    Ok(true)
}

/// At most `limit` sessions that are closed everywhere and not forgotten, in the order of their ids, each with the time
/// of its closing: the shards that they left behind are to be deleted from every drive.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn closed(tx: &dyn Transaction, limit: usize) -> Result<Vec<(SessionId, Timestamp)>, MetaError> {
    let rows = ended(tx)?.into_iter().filter_map(|(id, row)| Some((id, row.closed?)));
    Ok(rows.take(limit).collect())
}

/// Nothing that these closed sessions left behind is on any drive any more. Those that are not closed stay.
///
/// # Errors
/// [`MetaError::Damaged`] when a row does not decode.
pub fn forget_closed(tx: &mut dyn Transaction, ids: &[SessionId]) -> Result<(), MetaError> {
    for id in ids {
        let row = load::<ClosingRow>(tx, RowKey::Closing(*id))?;
        if row.is_some_and(|row| row.closed.is_some()) {
            tx.delete(RowKey::Closing(*id));
        }
    }
    Ok(())
}

/// All sessions that have ended and are not forgotten. There are only as many as ended while some drive was away, or
/// shortly ago.
fn ended(tx: &dyn Transaction) -> Result<Vec<(SessionId, ClosingRow)>, MetaError> {
    let rows = scan(tx, &range::closing(), ENDED_MAX)?;
    rows.into_iter()
        .map(|(key, row)| match key {
            RowKey::Closing(id) => Ok((id, row)),
            _ => Err(MetaError::Damaged),
        })
        .collect()
}
