//! How much is measured, and the room that it takes.

use core::time::Duration;

use serde::Serialize;
use weft_types::ByteCount;

use crate::pattern::BLOCK;
use crate::workload::Workload;

/// Bytes of one sequential request.
pub const REQUEST: usize = 1 << 20;
/// Bytes of a small file.
pub(crate) const FILE: usize = BLOCK;

/// How much is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameters {
    /// What, in the order of [`Workload::ALL`].
    pub workloads: Vec<Workload>,
    /// Bytes of the large file, a multiple of [`REQUEST`].
    pub size: ByteCount,
    /// Small files, of all threads together.
    pub files: usize,
    /// How long a random workload goes on at most.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub bound: Duration,
    /// How often each is measured.
    pub runs: usize,
    /// Of contents and orders.
    pub seed: u64,
    /// Only whether it works: the figures say nothing.
    pub small: bool,
}

fn as_seconds<S: serde::Serializer>(bound: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(bound.as_secs_f64())
}

impl Parameters {
    /// As large as it takes to see a steady rate.
    pub fn full(seed: u64) -> Self {
        Self {
            workloads: Workload::ALL.to_vec(),
            size: ByteCount::new(1 << 30),
            files: 5000,
            bound: Duration::from_secs(5),
            runs: 3,
            seed,
            small: false,
        }
    }

    /// As small as it takes to see whether it works.
    pub fn small(seed: u64) -> Self {
        Self {
            size: ByteCount::new(4 << 20),
            files: 40,
            bound: Duration::from_millis(200),
            runs: 1,
            small: true,
            ..Self::full(seed)
        }
    }

    /// Blocks of the large file.
    pub fn blocks(&self) -> u64 {
        self.size.get() / BLOCK as u64
    }

    /// Trees of small files that are there at once.
    fn trees(&self) -> u64 {
        let mut threads: Vec<_> = self.workloads.iter().filter_map(|workload| workload.threads()).collect();
        threads.sort_unstable();
        threads.dedup();
        (threads.len() * self.runs) as u64
    }

    /// The room that it all takes at most.
    pub fn need(&self) -> Need {
        let any = |test: fn(Workload) -> bool| self.workloads.iter().copied().any(test);
        let large = u64::from(any(Workload::uses_large_file)) + u64::from(any(Workload::overwrites));
        Need { large, size: self.size, trees: self.trees(), files: self.files as u64 }
    }
}

/// The room that a bench takes, with its arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// How often the large file: once, and once more when it is written over, since what is overwritten is cleaned
    /// away only later.
    pub large: u64,
    /// Its bytes.
    pub size: ByteCount,
    /// Trees of small files.
    pub trees: u64,
    /// Files in each.
    pub files: u64,
}

impl Need {
    /// All of it in bytes.
    pub fn total(&self) -> ByteCount {
        let large = self.large.saturating_mul(self.size.get());
        let small = self.trees.saturating_mul(self.files).saturating_mul(FILE as u64);
        ByteCount::new(large.saturating_add(small))
    }
}

impl core::fmt::Display for Need {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { large, size, trees, files } = self;
        let file = ByteCount::new(FILE as u64);
        write!(
            f,
            "{} = {large} x {size} for the large file + {trees} x {files} files of {file}",
            self.total()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Threads;

    #[test]
    fn the_room_is_that_of_what_is_measured() {
        let all = Parameters::full(1);
        assert_eq!(all.need(), Need { large: 2, size: all.size, trees: 6, files: 5000 });
        assert_eq!(all.need().total().get(), (2 << 30) + 6 * 5000 * 4096);
        let read = Parameters { workloads: vec![Workload::SeqRead], ..Parameters::full(1) };
        assert_eq!(read.need().total(), read.size);
        let names =
            Parameters { workloads: vec![Workload::Stat(Threads::Four)], runs: 2, ..Parameters::full(1) };
        assert_eq!(names.need().total().get(), 2 * 5000 * 4096);
        assert!(names.need().to_string().contains("2 x 5000 files"), "{}", names.need());
    }

    #[test]
    fn what_nobody_has_room_for_is_still_a_number() {
        let huge = Parameters { size: ByteCount::new(u64::MAX), ..Parameters::full(1) };
        assert_eq!(huge.need().total().get(), u64::MAX);
    }
}
