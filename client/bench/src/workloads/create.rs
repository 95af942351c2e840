//! Files of 4 KiB made: create, write, close.

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::parameters::FILE;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct Create(pub(super) Threads);

impl Work for Create {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.make_empty(key(self.0, run)).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.plan(key(self.0, run)), &site.stop);
        let create = |thread| {
            let (mut tally, mut buffer) = (Tally::default(), vec![0; FILE]);
            for index in 0..tree.per_thread() {
                stop.check()?;
                tally.time(FILE, || tree.create(thread, index, &mut buffer))?;
            }
            Ok(tally)
        };
        let measured = crew::run(tree.threads(), create, || Ok(()))?;
        site.trees.made(key(self.0, run), tree);
        Ok(measured)
    }
}
