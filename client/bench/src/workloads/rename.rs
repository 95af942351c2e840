//! Another name in the same directory.

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct Rename(pub(super) Threads);

impl Work for Rename {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.ensure(key(self.0, run), &site.stop).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.ensure(key(self.0, run), &site.stop)?, &site.stop);
        let after = tree.renamed();
        let rename = |thread| {
            let mut tally = Tally::default();
            for index in 0..tree.per_thread() {
                stop.check()?;
                let (from, to) = (tree.file(thread, index), after.file(thread, index));
                tally.time(0, || std::fs::rename(&from, &to).during("rename", &from))?;
            }
            Ok(tally)
        };
        let measured = crew::run(tree.threads(), rename, || Ok(()))?;
        site.trees.made(key(self.0, run), after);
        Ok(measured)
    }
}
