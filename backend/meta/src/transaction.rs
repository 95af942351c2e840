//! The rows as operations see them.

use minicbor::{Decode, Encode};
use weft_wire::meta::MetaError;

use crate::row::RowKey;
use crate::row::range::Range;

/// A filesystem's rows, and changes to them that become durable together or not at all.
///
/// Every read sees the writes made before it in the same transaction. Values are plaintext; sealing is the
/// implementation's, after [`RowKey::sealing`].
pub trait Transaction {
    /// The value of a row.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] when the stored row does not open.
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError>;

    /// Makes or replaces a row.
    fn put(&mut self, key: RowKey, value: Vec<u8>);

    /// Removes a row; one that does not exist stays so.
    fn delete(&mut self, key: RowKey);

    /// At most `limit` rows in the order of their encoded keys, from `from` (inclusive) to `until` (exclusive).
    ///
    /// # Errors
    /// [`MetaError::Damaged`] when a stored row does not open.
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError>;
}

/// The typed value of a row.
pub(crate) fn load<T>(tx: &dyn Transaction, key: RowKey) -> Result<Option<T>, MetaError>
where
    T: for<'b> Decode<'b, ()>,
{
    tx.get(&key)?.map(|bytes| decode(&bytes)).transpose()
}

/// The typed value of a row that another row says is there.
pub(crate) fn load_known<T>(tx: &dyn Transaction, key: RowKey) -> Result<T, MetaError>
where
    T: for<'b> Decode<'b, ()>,
{
    load(tx, key)?.ok_or(MetaError::Damaged)
}

/// Makes or replaces a row.
pub(crate) fn store<T: Encode<()>>(tx: &mut dyn Transaction, key: RowKey, value: &T) {
    tx.put(key, minicbor::to_vec(value).expect("a row encodes into memory"));
}

/// The value that these bytes are.
pub(crate) fn decode<T>(bytes: &[u8]) -> Result<T, MetaError>
where
    T: for<'b> Decode<'b, ()>,
{
    minicbor::decode(bytes).map_err(|_| MetaError::Damaged)
}

/// At most `limit` rows of a range, as typed values.
pub(crate) fn scan<T>(
    tx: &dyn Transaction,
    (from, until): &Range,
    limit: usize,
) -> Result<Vec<(RowKey, T)>, MetaError>
where
    T: for<'b> Decode<'b, ()>,
{
    let rows = tx.scan(from, until, limit)?;
    rows.into_iter().map(|(key, bytes)| Ok((key, decode(&bytes)?))).collect()
}
