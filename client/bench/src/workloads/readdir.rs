//! Names listed; the figure counts names.

use std::path::Path;

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct ReadDir(pub(super) Threads);

impl Work for ReadDir {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.ensure(key(self.0, run), &site.stop).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.ensure(key(self.0, run), &site.stop)?, &site.stop);
        let list = |thread| {
            stop.check()?;
            let (path, made) = (tree.folder(thread), tree.per_thread() as u64);
            let found = count(&path)?;
            if found != made {
                return Err(BenchError::WrongListing { path, found, made });
            }
            Ok(Tally::of(found))
        };
        crew::run(tree.threads(), list, || Ok(()))
    }
}

fn count(path: &Path) -> Result<u64, BenchError> {
    let entries = std::fs::read_dir(path).during("list", path)?;
    let mut found = 0;
    for entry in entries {
        entry.during("list", path)?;
        found += 1;
    }
    Ok(found)
}
