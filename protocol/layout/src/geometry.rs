//! Where every block of an extent lies: in which shard, at which bytes of it, on which member of the group.
//!
//! An extent is cut into blocks of [`BLOCK_BYTES`]; each is sealed on its own and stands in a *slot*: ciphertext,
//! authentication tag, then zeroes up to a multiple of [`SLOT_ALIGN`]. The erasure code pairs bytes within chunks
//! of that size, so the same slot of N shards gives back that slot of the others without any other byte.
//!
//! - *Striped* (more than one block): data shard `i` holds the blocks from `i * blocks_per_shard` on, in order;
//!   the last shards may be short, or absent when nothing falls to them: what is not stored counts as zeroes
//!   for the code. All M parity shards are stored in full.
//! - *Mirrored* (one block): M+1 copies of one slot, which is only as long as the block needs.

use core::ops::Range;

use weft_types::{BLOCK_BYTES, ByteCount, ExtentSeq, ShardIndex};

use crate::Protection;

mod runs;

pub use runs::{Run, Runs};

/// The most plaintext bytes an extent holds: 4 MiB.
pub const MAX_EXTENT_BYTES: u32 = 4 << 20;
/// Bytes of the authentication tag behind every block's ciphertext.
pub const TAG_BYTES: u32 = 16;
/// Slots start and end at multiples of this many bytes, as the erasure code needs.
pub const SLOT_ALIGN: u32 = 64;
/// Bytes of every slot of a striped extent: a full block, its tag, padding.
pub const SLOT_BYTES: u32 = slot_bytes_for(BLOCK);

const BLOCK: u32 = BLOCK_BYTES as u32;

const fn slot_bytes_for(plaintext: u32) -> u32 {
    (plaintext + TAG_BYTES).next_multiple_of(SLOT_ALIGN)
}

/// A length that no extent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// An extent holds at least one byte.
    #[error("an extent holds at least one byte")]
    Empty,
    /// An extent holds at most [`MAX_EXTENT_BYTES`].
    #[error("an extent holds at most {MAX_EXTENT_BYTES} bytes, not {0}")]
    TooLong(u64),
}

/// A member's place in its placement group, `0..N+M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct GroupSlot(#[n(0)] u8);

impl GroupSlot {
    /// The member at this place.
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The place, to index the group's list of members.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl core::fmt::Display for GroupSlot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

impl Protection {
    /// The member of the group that holds a shard of extent `seq`: the list is rotated by the extent's number, so
    /// that parity, and the first shard, which small extents fill first, fall to every member in turn.
    pub const fn group_slot(self, shard: ShardIndex, seq: ExtentSeq) -> GroupSlot {
        let width = self.width() as u64;
        GroupSlot(((shard.to_byte() as u64 + seq.get() % width) % width) as u8)
    }

    /// The shard of extent `seq` that falls to a member: the inverse of [`group_slot`](Self::group_slot). The
    /// geometry says whether the extent has that shard at all.
    pub const fn shard_on(self, slot: GroupSlot, seq: ExtentSeq) -> ShardIndex {
        let width = self.width() as u64;
        ShardIndex::new(((slot.0 as u64 + width - seq.get() % width) % width) as u8)
    }
}

/// Whether an extent is coded or copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One block, M+1 copies: shards `0..=M` are all the same bytes.
    Mirrored,
    /// N data shards, M parity shards.
    Striped,
}

/// A run of bytes of a shard, from slot to slot: the same column of N shards decodes without the rest.
///
/// Start and end are multiples of [`SLOT_ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Column {
    start: u32,
    end: u32,
}

impl Column {
    /// Bytes `start..end` of a shard; `None` unless both are multiples of [`SLOT_ALIGN`] in this order.
    pub const fn new(start: u32, end: u32) -> Option<Self> {
        if start > end || !start.is_multiple_of(SLOT_ALIGN) || !end.is_multiple_of(SLOT_ALIGN) {
            return None;
        }
        Some(Self { start, end })
    }

    /// The first byte of the shard.
    pub const fn start(self) -> u32 {
        self.start
    }

    /// Bytes.
    pub const fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether it has no byte.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// As a range, to index a shard's bytes.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where a block's slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLocation {
    /// The data shard; copy 0 of a mirrored extent.
    pub shard: ShardIndex,
    /// The slot's bytes in it; in a mirrored extent, the same in every copy.
    pub slot: Column,
}

/// The shape of one extent: protection and plaintext length, of which the rest follows.
///
/// Two numbers on the wire and in the extent's row. Nothing here allocates; blocks are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode)]
pub struct Geometry {
    #[n(0)]
    protection: Protection,
    #[n(1)]
    len: u32,
}

/// The wire form before it is believed.
#[derive(minicbor::Decode)]
struct Unchecked {
    #[n(0)]
    protection: Protection,
    #[n(1)]
    len: u32,
}

impl<'b, C> minicbor::Decode<'b, C> for Geometry {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let Unchecked { protection, len } = Unchecked::decode(d, ctx)?;
        Self::new(protection, ByteCount::new(len.into())).map_err(minicbor::decode::Error::custom)
    }
}

impl Geometry {
    /// The shape of an extent of `len` plaintext bytes, 1 to [`MAX_EXTENT_BYTES`].
    ///
    /// # Errors
    /// [`GeometryError`] for any other length.
    pub const fn new(protection: Protection, len: ByteCount) -> Result<Self, GeometryError> {
        match len.get() {
            0 => Err(GeometryError::Empty),
            long if long > MAX_EXTENT_BYTES as u64 => Err(GeometryError::TooLong(long)),
            len => Ok(Self { protection, len: len as u32 }),
        }
    }

    /// The code.
    pub const fn protection(self) -> Protection {
        self.protection
    }

    /// Plaintext bytes, 1 to [`MAX_EXTENT_BYTES`].
    pub const fn plaintext_bytes(self) -> ByteCount {
        ByteCount::new(self.len as u64)
    }

    /// Whether the extent is coded or copied.
    pub const fn form(self) -> Form {
        if self.len <= BLOCK { Form::Mirrored } else { Form::Striped }
    }

    /// Blocks, at least 1.
    pub const fn block_count(self) -> u32 {
        self.len.div_ceil(BLOCK)
    }

    /// Slots of the longest data shard, and of every parity shard.
    pub const fn blocks_per_shard(self) -> u32 {
        match self.form() {
            Form::Mirrored => 1,
            Form::Striped => self.block_count().div_ceil(self.protection.data() as u32),
        }
    }

    /// Bytes of every slot of this extent.
    pub const fn slot_bytes(self) -> u32 {
        match self.form() {
            Form::Mirrored => slot_bytes_for(self.len),
            Form::Striped => SLOT_BYTES,
        }
    }

    /// Bytes of the longest shard: the length to which the code pads the others with zeroes.
    pub const fn full_shard_bytes(self) -> u32 {
        self.blocks_per_shard() * self.slot_bytes()
    }

    /// Where a block lies; `None` past the last block.
    pub const fn block_location(self, block: u32) -> Option<BlockLocation> {
        if block >= self.block_count() {
            return None;
        }
        let per_shard = self.blocks_per_shard();
        let start = block % per_shard * self.slot_bytes();
        // The quotient is a data shard's index, below 16.
        let shard = ShardIndex::new((block / per_shard) as u8);
        Some(BlockLocation { shard, slot: Column { start, end: start + self.slot_bytes() } })
    }

    /// Plaintext bytes of a block: [`BLOCK_BYTES`] but for the last one; 0 past it.
    pub const fn plaintext_len(self, block: u32) -> u32 {
        let range = self.plaintext_range(block..block.saturating_add(1));
        range.end - range.start
    }

    /// Bytes of a block's ciphertext and tag, the part of its slot before the padding; 0 past the last block.
    pub const fn sealed_len(self, block: u32) -> u32 {
        match self.plaintext_len(block) {
            0 => 0,
            len => len + TAG_BYTES,
        }
    }

    /// The plaintext bytes of the extent that these blocks hold.
    pub const fn plaintext_range(self, blocks: Range<u32>) -> Range<u32> {
        block_start(blocks.start, self.len)..block_start(blocks.end, self.len)
    }

    /// Bytes of a shard as it is stored: 0 for one that is not.
    pub const fn shard_len(self, shard: ShardIndex) -> u32 {
        self.shard_slots(shard) * self.slot_bytes()
    }

    /// The blocks whose slots a data shard, or a copy, holds in order; empty for parity.
    pub const fn shard_blocks(self, shard: ShardIndex) -> Range<u32> {
        let index = shard.to_byte();
        match self.form() {
            Form::Mirrored if index <= self.protection.parity() => 0..1,
            Form::Striped if index < self.protection.data() => {
                let (per_shard, blocks) = (self.blocks_per_shard(), self.block_count());
                let start = min(index as u32 * per_shard, blocks);
                start..min(start + per_shard, blocks)
            }
            _ => 0..0,
        }
    }

    const fn shard_slots(self, shard: ShardIndex) -> u32 {
        let parity = self.protection.data() <= shard.to_byte() && shard.to_byte() < self.protection.width();
        match self.form() {
            Form::Striped if parity => self.blocks_per_shard(),
            _ => {
                let blocks = self.shard_blocks(shard);
                blocks.end - blocks.start
            }
        }
    }

    /// The part of a column that a shard stores; the rest of it is zeroes for the code and is on no drive.
    pub const fn stored_column(self, shard: ShardIndex, column: Column) -> Column {
        let stored = self.shard_len(shard);
        Column { start: min(column.start, stored), end: min(column.end, stored) }
    }

    /// The shards that are stored, in order: all copies of a mirrored extent; of a striped one the data shards
    /// that hold a block, and all parity shards.
    pub fn stored_shards(self) -> impl Iterator<Item = ShardIndex> + Clone {
        (0..self.protection.width()).map(ShardIndex::new).filter(move |shard| self.shard_slots(*shard) > 0)
    }

    /// The stored shards of extent `seq`, each with the member of the placement group that holds it.
    pub fn holders(self, seq: ExtentSeq) -> impl Iterator<Item = (ShardIndex, GroupSlot)> + Clone {
        self.stored_shards().map(move |shard| (shard, self.protection.group_slot(shard, seq)))
    }

    /// Bytes on all drives together, without record headers.
    pub fn stored_bytes(self) -> ByteCount {
        ByteCount::new(self.stored_shards().map(|shard| u64::from(self.shard_len(shard))).sum())
    }

    /// What must be read for plaintext bytes `range` of the extent: one run of slots per data shard, in order of
    /// the file. Bytes past the end are left out. Of a mirrored extent it names copy 0; every
    /// [stored shard](Self::stored_shards) holds the same column.
    pub const fn runs(self, range: Range<u32>) -> Runs {
        let end = min(range.end, self.len);
        if range.start >= end {
            return Runs::new(self, 0..0);
        }
        Runs::new(self, range.start / BLOCK..end.div_ceil(BLOCK))
    }
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// The first byte of a block, or the end of the extent when it lies before that.
const fn block_start(block: u32, len: u32) -> u32 {
    min(block.saturating_mul(BLOCK), len)
}

#[cfg(test)]
mod tests;
