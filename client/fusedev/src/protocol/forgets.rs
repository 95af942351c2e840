//! References that are given back, many at once.

use super::ids::NodeId;
use super::reader::{Malformed, Reader};

/// Bytes of one inode and its references.
const PAIR: usize = 16;

/// Inodes, each with how many references the kernel gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgets<'a>(&'a [u8]);

impl<'a> Forgets<'a> {
    pub(crate) fn parse(mut body: Reader<'a>) -> Result<Self, Malformed> {
        let count = body.u32()? as usize;
        body.skip(4)?;
        let len = count.checked_mul(PAIR).ok_or(Malformed)?;
        body.bytes(len).map(Self)
    }

    /// The inodes and their references.
    pub fn iter(self) -> impl Iterator<Item = (NodeId, u64)> + 'a {
        let (pairs, _) = self.0.as_chunks::<PAIR>();
        pairs.iter().map(|pair| {
            let mut pair = Reader::new(pair);
            // Two fields of eight bytes are in sixteen.
            (NodeId::new(pair.u64().unwrap_or_default()), pair.u64().unwrap_or_default())
        })
    }
}
