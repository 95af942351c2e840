//! A range of blocks, cut at the borders of shards.

use core::ops::Range;

use weft_types::ShardIndex;

use super::{Column, Geometry};

/// Blocks that follow each other in one shard: one ranged read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The data shard; copy 0 of a mirrored extent.
    pub shard: ShardIndex,
    /// The blocks' slots in that shard, one after the other.
    pub column: Column,
    /// The blocks' numbers in the extent; never empty.
    pub blocks: Range<u32>,
}

/// The runs of a range of blocks, in order; at most one per data shard.
#[derive(Debug, Clone)]
pub struct Runs {
    geometry: Geometry,
    rest: Range<u32>,
}

impl Runs {
    pub(super) const fn new(geometry: Geometry, blocks: Range<u32>) -> Self {
        Self { geometry, rest: blocks }
    }
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        if self.rest.is_empty() {
            return None;
        }
        let first = self.geometry.block_location(self.rest.start)?;
        let end = self.geometry.shard_blocks(first.shard).end.min(self.rest.end);
        let last = self.geometry.block_location(end.checked_sub(1)?)?;
        let run = Run {
            shard: first.shard,
            column: Column { start: first.slot.start, end: last.slot.end },
            blocks: self.rest.start..end,
        };
        self.rest.start = end;
        Some(run)
    }
}
