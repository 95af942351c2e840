//! The medium itself, by direct IO on a file beside the drives'.

use core::time::Duration;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::WIDTHS;
use crate::BenchError;
use crate::aligned::Aligned;
use crate::crew::{self, Measured, Tally};
use crate::error::During;
use crate::parameters::{Parameters, REQUEST};
use crate::pattern::{BLOCK, Pattern, Place, mixed};
use crate::permutation::Permutation;
use crate::site::{DirectFile, open_direct};
use crate::statistics::per_second;
use crate::stop::Stop;

/// The most that is written: beyond it, a rate is steady.
const BYTES_MAX: u64 = 256 << 20;

/// What the medium gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Device {
    /// Around the page cache.
    pub(crate) direct: bool,
    /// MB/s of sequential writes of 1 MiB, flushed at the end.
    pub(crate) write: f64,
    /// MB/s of sequential reads of 1 MiB.
    pub(crate) read: f64,
    /// Random reads of 4 KiB per second, by how many are under way at once.
    pub(crate) reads: [f64; WIDTHS.len()],
    /// Writes of 4 KiB with fdatasync per second, by how many are under way at once.
    pub(crate) syncs: [f64; WIDTHS.len()],
}

/// A file that goes when it is no longer needed.
struct Scratch {
    path: PathBuf,
    opened: DirectFile,
    blocks: u64,
    bound: Duration,
    stop: Stop,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody can do anything about it.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) fn measure(
    folder: &Path,
    parameters: &Parameters,
    bound: Duration,
    stop: &Stop,
) -> Result<Device, BenchError> {
    let path =
        folder.join(format!(".weft-bench-{:016x}", mixed(parameters.seed ^ u64::from(std::process::id()))));
    let mut options = OpenOptions::new();
    let opened = open_direct(&path, options.read(true).write(true).create(true)).during("create", &path)?;
    let bytes = parameters.size.get().min(BYTES_MAX);
    let scratch = Scratch { path, opened, blocks: bytes / BLOCK as u64, bound, stop: stop.clone() };
    let (write, read) = (scratch.write()?, scratch.read()?);
    let (mut reads, mut syncs) = ([0.0; WIDTHS.len()], [0.0; WIDTHS.len()]);
    for (at, width) in WIDTHS.into_iter().enumerate() {
        reads[at] = scratch.reads(width)?;
        syncs[at] = scratch.syncs(width)?;
    }
    Ok(Device { direct: scratch.opened.direct, write, read, reads, syncs })
}

impl Scratch {
    fn write(&self) -> Result<f64, BenchError> {
        let work = |_| {
            let (mut tally, mut buffer) = (Tally::default(), filled());
            for offset in self.requests() {
                self.stop.check()?;
                tally.time(REQUEST, || {
                    self.opened.file.write_all_at(buffer.bytes(), offset).during("write", &self.path)
                })?;
            }
            Ok(tally)
        };
        megabytes(crew::run(1, work, || self.opened.file.sync_data().during("fdatasync", &self.path))?)
    }

    fn read(&self) -> Result<f64, BenchError> {
        let work = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(REQUEST));
            for offset in self.requests() {
                self.stop.check()?;
                tally.time(REQUEST, || {
                    self.opened.file.read_exact_at(buffer.bytes(), offset).during("read", &self.path)
                })?;
            }
            Ok(tally)
        };
        megabytes(crew::run(1, work, || Ok(()))?)
    }

    fn reads(&self, width: usize) -> Result<f64, BenchError> {
        self.random(width, |buffer, offset| {
            self.opened.file.read_exact_at(buffer, offset).during("read", &self.path)
        })
    }

    fn syncs(&self, width: usize) -> Result<f64, BenchError> {
        self.random(width, |buffer, offset| {
            self.opened.file.write_all_at(buffer, offset).during("write", &self.path)?;
            self.opened.file.sync_data().during("fdatasync", &self.path)
        })
    }

    fn random(
        &self,
        width: usize,
        operation: impl Fn(&mut [u8], u64) -> Result<(), BenchError> + Sync,
    ) -> Result<f64, BenchError> {
        let (order, next) = (Permutation::new(self.blocks, 1), AtomicU64::new(0));
        let end = Instant::now() + self.bound;
        let work = |_| {
            let (mut tally, mut buffer) = (Tally::default(), Aligned::new(BLOCK));
            // Each does at least one, however late it gets its turn.
            loop {
                self.stop.check()?;
                let index = next.fetch_add(1, Ordering::Relaxed) % self.blocks;
                let block = order.at(index).unwrap_or_default();
                tally.time(BLOCK, || operation(buffer.bytes(), block * BLOCK as u64))?;
                if Instant::now() >= end {
                    return Ok(tally);
                }
            }
        };
        let measured = crew::run(width, work, || Ok(()))?;
        Ok(per_second(measured.operations, measured.elapsed))
    }

    fn requests(&self) -> impl Iterator<Item = u64> {
        (0..self.blocks * BLOCK as u64).step_by(REQUEST)
    }
}

/// A request of bytes that no medium shortens.
fn filled() -> Aligned {
    let mut buffer = Aligned::new(REQUEST);
    for (block, bytes) in (0..).zip(buffer.bytes().chunks_exact_mut(BLOCK)) {
        Pattern::new(1).fill(Place { file: 0, block, generation: 0 }, bytes);
    }
    buffer
}

fn megabytes(measured: Measured) -> Result<f64, BenchError> {
    Ok(per_second(measured.bytes, measured.elapsed) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_rates_and_nothing_stays_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let bound = Duration::from_millis(5);
        let device =
            measure(folder.path(), &Parameters::small(1), bound, &Stop::default()).expect("measured");
        let rates = [device.write, device.read].into_iter().chain(device.reads).chain(device.syncs);
        assert!(rates.into_iter().all(|rate| rate > 0.0), "{device:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }
}
