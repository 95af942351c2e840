//! Inode numbers.

use core::fmt;

use crate::MetadataShard;

/// An inode number: the metadata shard that owns it in the upper 16 bits, its number there in the lower 48.
///
/// Numbers are never reused within a filesystem.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Inode(#[n(0)] u64);

impl Inode {
    /// The root directory of every filesystem; FUSE fixes the number.
    pub const ROOT: Self = Self(1);

    const LOCAL_BITS: u32 = 48;

    /// The inode with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Inode `local` of a shard; `None` past 48 bits.
    pub const fn in_shard(shard: MetadataShard, local: u64) -> Option<Self> {
        if local >> Self::LOCAL_BITS != 0 {
            return None;
        }
        Some(Self(((shard.get() as u64) << Self::LOCAL_BITS) | local))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The shard that owns it.
    pub const fn shard(self) -> MetadataShard {
        MetadataShard::new((self.0 >> Self::LOCAL_BITS) as u16)
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inode({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_names_its_shard() {
        let inode = Inode::in_shard(MetadataShard::new(3), 77).expect("fits");
        assert_eq!(inode.shard(), MetadataShard::new(3));
        assert_eq!(Inode::in_shard(MetadataShard::new(0), 1), Some(Inode::ROOT));
        assert_eq!(Inode::in_shard(MetadataShard::new(0), 1 << 48), None);
    }
}
