//! Small files opened, read and closed, every byte of them checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Work, key};
use crate::BenchError;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::parameters::FILE;
use crate::site::Site;
use crate::workload::Threads;

pub(super) struct OpenRead(pub(super) Threads);

impl Work for OpenRead {
    fn prepare(&self, site: &mut Site, run: usize) -> Result<(), BenchError> {
        site.trees.ensure(key(self.0, run), &site.stop).map(drop)
    }

    fn measure(&self, site: &mut Site, run: usize) -> Result<Measured, BenchError> {
        let (tree, stop) = (site.trees.ensure(key(self.0, run), &site.stop)?, &site.stop);
        let read = |thread| {
            let (mut tally, mut buffer) = (Tally::default(), vec![0; FILE]);
            for index in 0..tree.per_thread() {
                stop.check()?;
                let path = tree.file(thread, index);
                tally.time(FILE, || fetch(&path, &mut buffer))?;
                tree.check(thread, index, &buffer)?;
            }
            Ok(tally)
        };
        crew::run(tree.threads(), read, || Ok(()))
    }
}

fn fetch(path: &Path, buffer: &mut [u8]) -> Result<(), BenchError> {
    File::open(path).and_then(|mut file| file.read_exact(buffer)).during("read", path)
}
