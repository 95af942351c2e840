//! A file from its start to its end by 1 MiB, every byte of it checked.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Work;
use crate::BenchError;
use crate::aligned::Aligned;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::parameters::REQUEST;
use crate::site::Site;

pub(super) struct SeqRead;

impl Work for SeqRead {
    fn prepare(&self, site: &mut Site, _: usize) -> Result<(), BenchError> {
        site.large.ensure(&site.stop)
    }

    fn measure(&self, site: &mut Site, _: usize) -> Result<Measured, BenchError> {
        let (large, stop) = (&site.large, &site.stop);
        let read = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(REQUEST));
            let file = File::open(large.path()).during("open", large.path())?;
            for offset in large.requests() {
                stop.check()?;
                tally.time(REQUEST, || {
                    file.read_exact_at(buffer.bytes(), offset).during("read", large.path())
                })?;
                large.check(offset, buffer.bytes())?;
            }
            Ok(tally)
        };
        crew::run(1, read, || Ok(()))
    }
}
