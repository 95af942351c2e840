//! The whole large file locked and unlocked by flock(2), shared, so that nobody waits: what a lock costs that nobody else wants.

use std::fs::File;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use super::Work;
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::site::Site;
use crate::workload::Depth;

/// Pairs of a thread at most.
const PAIRS_MAX: u64 = 100_000;

pub(super) struct Lock(pub(super) Depth);

impl Work for Lock {
    fn prepare(&self, site: &mut Site, _: usize) -> Result<(), BenchError> {
        site.large.ensure(&site.stop)
    }

    fn measure(&self, site: &mut Site, _: usize) -> Result<Measured, BenchError> {
        let (large, stop, bound) = (&site.large, &site.stop, site.parameters.bound);
        let pairs = |_| {
            let mut tally = Tally::default();
            // Locks of flock(2) are those of an open file.
            let file = File::open(large.path()).during("open", large.path())?;
            let begun = Instant::now();
            for _ in 0..PAIRS_MAX {
                stop.check()?;
                if begun.elapsed() >= bound {
                    break;
                }
                tally.time(0, || {
                    for operation in [FlockOperation::LockShared, FlockOperation::Unlock] {
                        flock(&file, operation)
                            .map_err(std::io::Error::from)
                            .during("flock", large.path())?;
                    }
                    Ok(())
                })?;
            }
            Ok(tally)
        };
        crew::run(self.0.get(), pairs, || Ok(()))
    }
}
