//! Sessions: who may ask, and what is collected when they go.

use weft_types::SessionId;
use weft_wire::meta::MetaError;

use crate::Transaction;
use crate::row::{RowKey, SessionRow, range};
use crate::transaction::{load, scan, store};

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

/// Ends a session, because it closed or because it expired: irreversible once durable. Its orphans and slots are
/// left to [`continue_work`](crate::continue_work). Answers whether it was open.
///
/// # Errors
/// [`MetaError::Damaged`] when its row does not decode.
pub fn end(tx: &mut dyn Transaction, id: SessionId) -> Result<bool, MetaError> {
    if find(tx, id)?.is_none() {
        return Ok(false);
    }
    tx.delete(RowKey::Session(id));
    tx.put(RowKey::Ending(id), Vec::new());
    Ok(true)
}
