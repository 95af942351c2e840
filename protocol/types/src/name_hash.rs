//! The hash under which a directory entry is filed.

use core::fmt;

/// 63-bit keyed hash of a name within its directory: part of the entry's row key, and the entry's readdir cookie.
///
/// 0, 1 and 2 are never hashes: as cookies they stand for the start, `.` and `..`; and a cookie of 63 bits is a
/// non-negative `off_t`. Two names may share a hash, and then share a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode)]
#[cbor(transparent)]
pub struct NameHash(#[n(0)] u64);

impl NameHash {
    /// The smallest hash.
    pub const MIN: Self = Self(3);

    /// The largest hash.
    pub const MAX: Self = Self((1 << 63) - 1);

    /// The hash with this number; `None` outside of [`MIN`](Self::MIN)..=[`MAX`](Self::MAX).
    pub const fn new(value: u64) -> Option<Self> {
        if value < Self::MIN.0 || value > Self::MAX.0 {
            return None;
        }
        Some(Self(value))
    }

    /// The hash made of the first 8 bytes of a MAC. The reserved values fall to the smallest hash.
    pub const fn from_mac(mac: [u8; 8]) -> Self {
        let bits = u64::from_be_bytes(mac) >> 1;
        if bits < Self::MIN.0 { Self::MIN } else { Self(bits) }
    }

    /// The number, for row keys and readdir cookies.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'b, C> minicbor::Decode<'b, C> for NameHash {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.u64()?).ok_or_else(|| minicbor::decode::Error::message("no name hash has this value"))
    }
}

impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_mac_makes_a_hash_that_travels(mac: [u8; 8]) {
            let hash = NameHash::from_mac(mac);
            prop_assert_eq!(NameHash::new(hash.get()), Some(hash));
            let wire = minicbor::to_vec(hash).expect("encodes");
            prop_assert_eq!(minicbor::decode::<NameHash>(&wire).expect("decodes"), hash);
        }
    }

    #[test]
    fn reserved_values_are_no_hashes() {
        for value in [0, 1, 2, 1 << 63, u64::MAX] {
            assert_eq!(NameHash::new(value), None);
            assert!(minicbor::decode::<NameHash>(&minicbor::to_vec(value).expect("encodes")).is_err());
        }
        assert_eq!(NameHash::from_mac([0; 8]), NameHash::MIN);
        assert_eq!(NameHash::from_mac([0, 0, 0, 0, 0, 0, 0, 5]), NameHash::MIN);
        assert_eq!(NameHash::from_mac([0, 0, 0, 0, 0, 0, 0, 8]), NameHash::new(4).expect("a hash"));
        assert_eq!(NameHash::from_mac([0xff; 8]), NameHash::MAX);
    }
}
