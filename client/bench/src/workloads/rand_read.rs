//! 4 KiB at random, around the page cache where that goes; no block twice, so that none comes from memory.

use std::os::unix::fs::FileExt;

use super::{Blocks, Work};
use crate::BenchError;
use crate::aligned::Aligned;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::pattern::BLOCK;
use crate::site::Site;
use crate::workload::Depth;

/// Of the order of its blocks.
const SALT: u64 = 1;

pub(super) struct RandRead(pub(super) Depth);

impl Work for RandRead {
    fn prepare(&self, site: &mut Site, _: usize) -> Result<(), BenchError> {
        site.large.ensure(&site.stop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let opened = site.large.open_direct(false)?;
        let (large, stop, file) = (&site.large, &site.stop, &opened.file);
        let blocks = Blocks::new(site, SALT, run);
        let read = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(BLOCK));
            while let Some(block) = blocks.take() {
                stop.check()?;
                let offset = block * BLOCK as u64;
                tally.time(BLOCK, || {
                    file.read_exact_at(buffer.bytes(), offset).during("read", large.path())
                })?;
                large.check(offset, buffer.bytes())?;
            }
            Ok(tally)
        };
        let measured = crew::run(self.0.get(), read, || Ok(()))?;
        Ok(Measured { direct: Some(opened.direct), ..measured })
    }
}
