//! 4 KiB over what is there, at random, around the page cache where that goes; durable at the end or after each.

use std::os::unix::fs::FileExt;

use super::{Blocks, Work};
use crate::BenchError;
use crate::aligned::Aligned;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::pattern::BLOCK;
use crate::site::Site;
use crate::workload::Depth;

/// Of the order of its blocks; another one where each write is made durable.
const SALT: u64 = 2;

pub(super) struct RandWrite {
    pub(super) depth: Depth,
    /// fdatasync after each write; else one fsync at the end, which counts.
    pub(super) sync_each: bool,
}

impl Work for RandWrite {
    fn prepare(&self, site: &mut Site, _: usize) -> Result<(), BenchError> {
        site.large.ensure(&site.stop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let opened = site.large.open_direct(true)?;
        let (large, stop, file) = (&site.large, &site.stop, &opened.file);
        let blocks = Blocks::new(site, SALT + u64::from(self.sync_each), run);
        let write = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(BLOCK));
            // Every block is taken by one thread only: what it holds afterwards is known.
            while let Some(block) = blocks.take() {
                stop.check()?;
                large.fill_next(block, buffer.bytes());
                tally.time(BLOCK, || {
                    let offset = block * BLOCK as u64;
                    file.write_all_at(buffer.bytes(), offset).during("write", large.path())?;
                    if self.sync_each { file.sync_data().during("fdatasync", large.path()) } else { Ok(()) }
                })?;
            }
            Ok(tally)
        };
        let last = || {
            if self.sync_each { Ok(()) } else { file.sync_all().during("fsync", large.path()) }
        };
        let measured = crew::run(self.depth.get(), write, last)?;
        Ok(Measured { direct: Some(opened.direct), ..measured })
    }
}
