//! Files removed.

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct Unlink(pub(super) Threads);

impl Work for Unlink {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.ensure(key(self.0, run), &site.stop).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.ensure(key(self.0, run), &site.stop)?, &site.stop);
        let unlink = |thread| {
            let mut tally = Tally::default();
            for index in 0..tree.per_thread() {
                stop.check()?;
                let path = tree.file(thread, index);
                tally.time(0, || std::fs::remove_file(&path).during("unlink", &path))?;
            }
            Ok(tally)
        };
        let measured = crew::run(tree.threads(), unlink, || Ok(()));
        // When it failed, some are gone and some are not: the next one makes all of them.
        site.trees.unmade(key(self.0, run));
        measured
    }
}
