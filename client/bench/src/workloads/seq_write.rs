//! A file from its start to its end by 1 MiB, then fsync, which counts.

use std::os::unix::fs::FileExt;

use super::Work;
use crate::BenchError;
use crate::aligned::Aligned;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::parameters::REQUEST;
use crate::site::Site;

pub(super) struct SeqWrite;

impl Work for SeqWrite {
    fn prepare(&self, site: &mut Site, _: usize) -> Result<(), BenchError> {
        site.large.remove()
    }

    fn measure(&self, site: &mut Site, _: usize) -> Result<Measured, BenchError> {
        let file = site.large.create()?;
        let (large, stop) = (&site.large, &site.stop);
        let write = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(REQUEST));
            for offset in large.requests() {
                stop.check()?;
                large.fill(offset, buffer.bytes());
                tally.time(REQUEST, || {
                    file.write_all_at(buffer.bytes(), offset).during("write", large.path())
                })?;
            }
            Ok(tally)
        };
        crew::run(1, write, || file.sync_all().during("fsync", large.path()))
    }
}
