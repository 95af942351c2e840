//! The workloads, each in two parts: what must be there, and what is measured.

mod create;
mod lock;
mod open_read;
mod rand_read;
mod rand_write;
mod readdir;
mod rename;
mod seq_read;
mod seq_write;
mod stat;
mod unlink;

use core::time::Duration;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::BenchError;
use crate::crew::Measured;
use crate::pattern::mixed;
use crate::permutation::Permutation;
use crate::site::{Site, TreeKey};
use crate::workload::{Threads, Workload};

/// One workload.
pub(crate) trait Work {
    /// Makes what the run needs; not measured.
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError>;

    /// The run itself.
    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError>;
}

/// What a workload does.
pub(crate) fn work(workload: Workload) -> Box<dyn Work> {
    match workload {
        Workload::SeqWrite => Box::new(seq_write::SeqWrite),
        Workload::SeqRead => Box::new(seq_read::SeqRead),
        Workload::RandRead(depth) => Box::new(rand_read::RandRead(depth)),
        Workload::RandWrite(depth) => Box::new(rand_write::RandWrite { depth, sync_each: false }),
        Workload::SyncWrite(depth) => Box::new(rand_write::RandWrite { depth, sync_each: true }),
        Workload::Lock(depth) => Box::new(lock::Lock(depth)),
        Workload::Create(threads) => Box::new(create::Create(threads)),
        Workload::Stat(threads) => Box::new(stat::Stat(threads)),
        Workload::OpenRead(threads) => Box::new(open_read::OpenRead(threads)),
        Workload::ReadDir(threads) => Box::new(readdir::ReadDir(threads)),
        Workload::Rename(threads) => Box::new(rename::Rename(threads)),
        Workload::Unlink(threads) => Box::new(unlink::Unlink(threads)),
    }
}

/// The tree of a run.
const fn key(threads: Threads, run: usize) -> TreeKey {
    TreeKey { threads, run }
}

/// Hands the blocks of the large file to threads, in an order of its own for every run, until all are handed out or
/// the time is over.
struct Blocks {
    order: Permutation,
    next: AtomicU64,
    bound: Duration,
    /// From when the first block was taken.
    end: OnceLock<Instant>,
}

impl Blocks {
    fn new(site: &Site, salt: u64, run: usize) -> Self {
        let parameters = &site.parameters;
        let key = mixed(parameters.seed ^ mixed(salt ^ (run as u64) << 32));
        let order = Permutation::new(parameters.blocks(), key);
        Self { order, next: AtomicU64::new(0), bound: parameters.bound, end: OnceLock::new() }
    }

    fn take(&self) -> Option<u64> {
        if Instant::now() >= *self.end.get_or_init(|| Instant::now() + self.bound) {
            return None;
        }
        self.order.at(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
