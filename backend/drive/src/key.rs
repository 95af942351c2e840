//! What records are stored under.

use core::fmt;

use weft_wire::drive::ShardKey;

/// The name of an item: 1 to 64 bytes, ordered as bytes are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey(Box<[u8]>);

impl ItemKey {
    /// The most bytes of a key.
    pub const MAX_BYTES: usize = 64;

    /// The key with these bytes, if there are 1 to 64.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX_BYTES).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemKey({})", self.0.escape_ascii())
    }
}

/// What a record is stored under, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordKey {
    Shard(ShardKey),
    Item(ItemKey),
}

impl RecordKey {
    /// What stands behind a record's header of it.
    pub(crate) fn tail_bytes(&self) -> &[u8] {
        match self {
            Self::Shard(_) => &[],
            Self::Item(key) => key.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_bytes_and_not_too_many() {
        assert_eq!(ItemKey::new(&[]), None);
        assert_eq!(ItemKey::new(&[1; 65]), None);
        let (short, long) = (ItemKey::new(&[1]).expect("fits"), ItemKey::new(&[1; 64]).expect("fits"));
        assert!(short < long && long < ItemKey::new(&[2]).expect("fits"), "ordered as bytes are");
        assert_eq!(long.as_bytes(), [1; 64]);
    }
}
