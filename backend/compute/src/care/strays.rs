//! Shards that are to be deleted once no reader can be at them any more.

use std::collections::VecDeque;

use tokio::time::Instant;
use weft_wire::drive::ShardKey;
use weft_wire::ownership::DriveHome;

/// Most that are remembered; others are found again.
const STRAYS_MAX: usize = 1 << 16;

/// A shard on a drive that nobody will look for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stray {
    /// When it may go.
    pub(super) due: Instant,
    /// Where it is.
    pub(super) home: DriveHome,
    /// Which it is.
    pub(super) key: ShardKey,
}

/// Strays in the order in which they are due, or nearly.
#[derive(Debug, Default)]
pub(super) struct Strays(VecDeque<Stray>);

impl Strays {
    /// Remembers one.
    pub(super) fn push(&mut self, stray: Stray) {
        if self.0.len() < STRAYS_MAX {
            self.0.push_back(stray);
        }
    }

    /// Takes at most `limit` that are due from the front.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<Stray> {
        let due = self.0.iter().take(limit).take_while(|stray| stray.due <= now).count();
        self.0.drain(..due).collect()
    }
}
