//! A shard's rows in memory: what is not in the index yet over what is.

mod cache;
mod seal;
mod transaction;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_engine::{BATCH_BYTES_MAX, Batch, Index};
use weft_keys::SealedRow;
use weft_meta::RowKey;
use weft_wire::meta::MetaError;

use cache::Cache;
pub(crate) use seal::{Openers, SealError, Sealer};
pub use transaction::Tx;
pub(crate) use transaction::Writes;

/// A plaintext value, shared between the overlay, the cache and the batch that is being sealed.
pub(crate) type Value = Arc<[u8]>;

/// Most bytes of writes that are gathered for one batch before operations have to wait; one operation's writes may
/// come on top.
pub(crate) const FILL_BYTES_MAX: usize = BATCH_BYTES_MAX / 4;
/// Most bytes of the writes of one operation: with a full batch they still fit into a record.
pub(crate) const WRITES_BYTES_MAX: usize = BATCH_BYTES_MAX / 2;
/// What a row adds to a record beside its key and plaintext: lengths, the seal, padding.
const ROW_OVERHEAD: usize = 8 + SealedRow::OVERHEAD + 2 * weft_keys::PADDED_TO;

/// A write that the index does not have yet.
struct Pending {
    /// `None`: deleted.
    value: Option<Value>,
    /// The batch that it is in.
    seq: u64,
}

/// The batch that fills.
#[derive(Default)]
struct Filling {
    keys: BTreeSet<Vec<u8>>,
    bytes: usize,
}

/// Rows on their way to the log.
pub(crate) struct Taken {
    /// The batch's sequence.
    pub(crate) seq: u64,
    /// Keys and plaintext values in the order of the keys.
    pub(crate) rows: Vec<(Vec<u8>, Option<Value>)>,
}

/// The rows of a shard: the batches that are not applied yet over the index.
pub(crate) struct Rows {
    /// `None` once the owner has failed.
    index: Option<Arc<Index>>,
    openers: Openers,
    overlay: BTreeMap<Vec<u8>, Pending>,
    filling: Filling,
    /// The sequence of the batch that fills.
    next: u64,
    cache: RefCell<Cache>,
}

impl Rows {
    /// The rows as the index has them; the next batch has this sequence.
    pub(crate) fn new(index: Arc<Index>, openers: Openers, next: u64) -> Self {
        Self {
            index: Some(index),
            openers,
            overlay: BTreeMap::new(),
            filling: Filling::default(),
            next,
            cache: RefCell::default(),
        }
    }

    /// A transaction over the rows as they are now.
    pub(crate) fn begin(&self) -> Tx<'_> {
        Tx::new(self)
    }

    /// Puts an operation's writes into the batch that fills. Answers the batch that must be durable before the
    /// operation is answered.
    pub(crate) fn commit(&mut self, writes: Writes) -> u64 {
        let Writes { rows, depends } = writes;
        if rows.is_empty() {
            return depends;
        }
        for (key, value) in rows {
            let bytes = key.len() + value.as_ref().map_or(0, |value| value.len()) + ROW_OVERHEAD;
            self.filling.bytes += bytes;
            self.filling.keys.insert(key.clone());
            self.overlay.insert(key, Pending { value, seq: self.next });
        }
        self.next
    }

    /// The last batch that anything was put into.
    pub(crate) fn last(&self) -> u64 {
        if self.filling.keys.is_empty() { self.next - 1 } else { self.next }
    }

    /// Whether operations have to wait until the batch that fills is on its way.
    pub(crate) const fn is_full(&self) -> bool {
        self.filling.bytes >= FILL_BYTES_MAX
    }

    /// The batch that filled, if there is anything in it; the next one fills from now on.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        if self.filling.keys.is_empty() {
            return None;
        }
        let keys = std::mem::take(&mut self.filling).keys;
        let value = |key: &Vec<u8>| self.overlay.get(key).and_then(|pending| pending.value.clone());
        let rows = keys.into_iter().map(|key| (value(&key), key)).map(|(value, key)| (key, value)).collect();
        let seq = self.next;
        self.next += 1;
        Some(Taken { seq, rows })
    }

    /// The index has the batch: its rows need not be kept over it any more.
    pub(crate) fn applied(&mut self, batch: &Batch) {
        let cache = self.cache.get_mut();
        for row in &batch.rows {
            if self.overlay.get(&row.key).is_some_and(|pending| pending.seq == batch.position.seq)
                && let Some((key, pending)) = self.overlay.remove_entry(&row.key)
            {
                cache.put(key, pending.value);
            }
        }
    }

    /// Lets go of the index, so that it can be opened anew, and of all rows. Nothing can be read any more.
    pub(crate) fn let_go(&mut self) {
        self.index = None;
        self.overlay.clear();
        self.filling = Filling::default();
        self.cache = RefCell::default();
    }

    fn index(&self) -> Result<&Index, MetaError> {
        self.index.as_deref().ok_or(MetaError::Damaged)
    }

    /// A row of the index, opened.
    fn stored(&self, key: &RowKey, encoded: &[u8]) -> Result<Option<Value>, MetaError> {
        if let Some(value) = self.cache.borrow_mut().get(encoded) {
            return Ok(value);
        }
        let sealed = self.index()?.get(encoded).map_err(|error| damaged(key, &error))?;
        let value = sealed.map(|sealed| self.open(key, encoded, &sealed)).transpose()?;
        self.cache.borrow_mut().put(encoded.to_vec(), value.clone());
        Ok(value)
    }

    fn open(&self, key: &RowKey, encoded: &[u8], sealed: &[u8]) -> Result<Value, MetaError> {
        self.openers.open(key, encoded, sealed).map_err(|error| damaged(key, &error))
    }
}

/// The key says which row; what is in it is not told.
fn damaged(key: &RowKey, error: &dyn std::error::Error) -> MetaError {
    tracing::error!(?key, %error, "a row of metadata cannot be read");
    MetaError::Damaged
}

#[cfg(test)]
mod tests;
