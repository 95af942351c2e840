//! What custody needs of a store.

use bytes::Bytes;

/// The name of an item: 1 to 64 bytes, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey(Vec<u8>);

impl ItemKey {
    /// The key with these bytes, if there are 1 to 64.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=64).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why an item was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadItemError {
    /// There is none of that name.
    #[error("there is no such item")]
    Absent,
    /// Its bytes fail their checksum.
    #[error("the item is damaged")]
    Damaged,
    /// The device failed.
    #[error("the device failed")]
    Device(#[source] std::io::Error),
}

/// A store's items, to be read.
pub trait Items {
    /// The items whose keys begin with `prefix`, in order, after `after`; with the lengths of their values. Fewer than
    /// `limit` only at the end.
    fn list(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)>;

    /// The value of an item, verified.
    ///
    /// # Errors
    /// [`ReadItemError`].
    fn read(&self, key: &ItemKey) -> Result<Bytes, ReadItemError>;
}
