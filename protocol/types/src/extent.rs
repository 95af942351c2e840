//! The names of extents and of their shards.

use core::fmt;

use crate::SessionId;

/// The number of an extent within its session. An id is consumed by its first sealing, whatever became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct ExtentSeq(#[n(0)] u64);

impl ExtentSeq {
    /// The extent with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An immutable run of file bytes, for ever: never reused and never rewritten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct ExtentId {
    /// The session that sealed it.
    #[n(0)]
    pub session: SessionId,
    /// Its number within that session.
    #[n(1)]
    pub seq: ExtentSeq,
}

impl ExtentId {
    /// Bytes of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 24;

    /// Session, then sequence big-endian: sorts as the id does. For row keys, record headers and key derivation.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.session.to_bytes());
        out[16..].copy_from_slice(&self.seq.get().to_be_bytes());
        out
    }

    /// The id whose bytes these are.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (session, seq) = bytes.split_at(16);
        Self {
            session: SessionId::from_bytes(session.try_into().expect("16 of 24 bytes")),
            seq: ExtentSeq::new(u64::from_be_bytes(seq.try_into().expect("8 of 24 bytes"))),
        }
    }
}

impl fmt::Display for ExtentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.seq.get())
    }
}

impl fmt::Debug for ExtentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtentId({self})")
    }
}

/// A shard's place in its stripe: `0..N` are data, `N..N+M` are parity; of a mirrored extent, the number of the
/// copy, `0..=M`. Which member of the placement group holds it depends on the extent's number as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct ShardIndex(#[n(0)] u8);

impl ShardIndex {
    /// The shard at this place.
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The place, to index arrays of N+M.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The place as it stands in headers.
    pub const fn to_byte(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ShardIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// BLAKE3 of a shard's stored bytes, 32 bytes. Every shard carries the digests of all shards of its stripe, so a
/// rebuild needs no key and one bad drive cannot poison it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest(")?;
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        write!(f, "..)")
    }
}

impl<C> minicbor::Encode<C> for Digest {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Digest {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        bytes.try_into().map(Self).map_err(|_| minicbor::decode::Error::message("digest is not 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extent_ids_sort_as_their_bytes(a: ([u8; 16], u64), b: ([u8; 16], u64)) {
            let id = |(session, seq)| ExtentId { session: SessionId::from_bytes(session), seq: ExtentSeq::new(seq) };
            let (a, b) = (id(a), id(b));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(ExtentId::from_bytes(a.to_bytes()), a);
        }
    }
}
