//! Attributes by name, in the order of creation; nothing was listed before.

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::parameters::FILE;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct Stat(pub(super) Threads);

impl Work for Stat {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.ensure(key(self.0, run), &site.stop).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.ensure(key(self.0, run), &site.stop)?, &site.stop);
        let stat = |thread| {
            let mut tally = Tally::default();
            for index in 0..tree.per_thread() {
                stop.check()?;
                let path = tree.file(thread, index);
                let found = tally.time(0, || std::fs::metadata(&path).during("stat", &path))?.len();
                if found != FILE as u64 {
                    return Err(BenchError::WrongLength { path, found, made: FILE as u64 });
                }
            }
            Ok(tally)
        };
        crew::run(tree.threads(), stat, || Ok(()))
    }
}
