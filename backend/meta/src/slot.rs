//! Exactly once: the last mutation of every slot is kept with its answer, in the transaction of the mutation.

use weft_types::{SessionId, SlotId, SlotSeq};
use weft_wire::KeyBytes;
use weft_wire::meta::{KeyGrant, MetaError, MetaReply, Opened};

use crate::data_keys;
use crate::row::{RowKey, SlotRow};
use crate::transaction::{load, store};
use crate::{KeyMaker, Transaction};

/// What to do with a mutation that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was not done yet.
    Fresh,
    /// It was, and this was the answer.
    Replay(Result<MetaReply, MetaError>),
}

/// Whether the mutation `seq` of a slot was done before. Numbers between may be missing: reads use them up and
/// are not recorded.
///
/// # Errors
/// [`MetaError::SlotOutOfStep`] for a number before the last; [`MetaError::Damaged`] when the row does not decode.
pub fn replay(
    tx: &dyn Transaction,
    keys: &dyn KeyMaker,
    session: SessionId,
    slot: SlotId,
    seq: SlotSeq,
) -> Result<Attempt, MetaError> {
    let Some(last) = load::<SlotRow>(tx, RowKey::Slot { session, slot })? else {
        return Ok(Attempt::Fresh);
    };
    if seq > last.seq {
        return Ok(Attempt::Fresh);
    }
    if seq < last.seq {
        return Err(MetaError::SlotOutOfStep);
    }
    Ok(Attempt::Replay(match (last.reply, last.refusal) {
        (Some(reply), None) => with_key(tx, keys, reply),
        (None, Some(refusal)) => Err(refusal),
        _ => return Err(MetaError::Damaged),
    }))
}

/// Records the answer to a mutation. A refusal is recorded too: a late copy of the request must not be done after
/// its sender was told no.
pub fn record(
    tx: &mut dyn Transaction,
    session: SessionId,
    slot: SlotId,
    seq: SlotSeq,
    answer: &Result<MetaReply, MetaError>,
) {
    let row = match answer {
        Ok(reply) => SlotRow { seq, reply: Some(without_key(reply.clone())), refusal: None },
        Err(refusal) => SlotRow { seq, reply: None, refusal: Some(*refusal) },
    };
    store(tx, RowKey::Slot { session, slot }, &row);
}

/// Rows never hold a data key that is not wrapped.
fn without_key(reply: MetaReply) -> MetaReply {
    match reply {
        MetaReply::Opened(Opened { attributes, key }) => {
            let key = KeyGrant { id: key.id, key: KeyBytes::new([0; 32]) };
            MetaReply::Opened(Opened { attributes, key })
        }
        other => other,
    }
}

fn with_key(tx: &dyn Transaction, keys: &dyn KeyMaker, reply: MetaReply) -> Result<MetaReply, MetaError> {
    match reply {
        MetaReply::Opened(Opened { attributes, key }) => {
            // Without its key's row the file is gone again.
            let key = data_keys::find(tx, keys, key.id)?.ok_or(MetaError::NotFound)?;
            Ok(MetaReply::Opened(Opened { attributes, key }))
        }
        other => Ok(other),
    }
}
