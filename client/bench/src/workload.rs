//! What can be measured, by name.

use core::fmt;
use core::str::FromStr;

/// How many operations are under way at once: 1, or 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// One after the other.
    One,
    /// By sixteen threads.
    Sixteen,
}

/// How many threads work on names at once: 1, or 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threads {
    /// One.
    One,
    /// Four, each in a directory of its own: within one, the kernel lets only one thread at a time change names.
    Four,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// A file from its start to its end by 1 MiB, then fsync.
    SeqWrite,
    /// The same read, cold.
    SeqRead,
    /// 4 KiB at random, cold, no block twice.
    RandRead(Depth),
    /// Files of 4 KiB made: create, write, close.
    Create(Threads),
    /// Attributes by name, cold.
    Stat(Threads),
    /// Open, read 4 KiB, close; cold.
    OpenRead(Threads),
    /// Names listed, cold.
    ReadDir(Threads),
    /// Another name in the same directory.
    Rename(Threads),
    /// Removed.
    Unlink(Threads),
    /// A file locked and unlocked that nobody else wants.
    Lock(Depth),
    /// 4 KiB over what is there, at random, fsync at the end.
    RandWrite(Depth),
    /// The same with fdatasync after each.
    SyncWrite(Depth),
}

/// In what a workload is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Millions of bytes per second.
    Megabytes,
    /// Operations per second.
    Operations,
}

impl Unit {
    /// Behind a figure.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Megabytes => "MB/s",
            Self::Operations => "/s",
        }
    }
}

impl Depth {
    /// As a number.
    pub const fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Sixteen => 16,
        }
    }
}

impl Threads {
    /// As a number.
    pub const fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }
}

impl Workload {
    /// All of them, in the order in which they are measured. What fragments a file or leaves much to be cleaned comes
    /// last, so that it does not weigh on the others.
    pub const ALL: [Self; 22] = [
        Self::SeqWrite,
        Self::SeqRead,
        Self::RandRead(Depth::One),
        Self::RandRead(Depth::Sixteen),
        Self::Create(Threads::One),
        Self::Create(Threads::Four),
        Self::Stat(Threads::One),
        Self::Stat(Threads::Four),
        Self::OpenRead(Threads::One),
        Self::OpenRead(Threads::Four),
        Self::ReadDir(Threads::One),
        Self::ReadDir(Threads::Four),
        Self::Rename(Threads::One),
        Self::Rename(Threads::Four),
        Self::Unlink(Threads::One),
        Self::Unlink(Threads::Four),
        Self::Lock(Depth::One),
        Self::Lock(Depth::Sixteen),
        Self::RandWrite(Depth::One),
        Self::RandWrite(Depth::Sixteen),
        Self::SyncWrite(Depth::One),
        Self::SyncWrite(Depth::Sixteen),
    ];

    /// In what it is counted.
    pub const fn unit(self) -> Unit {
        match self {
            Self::SeqWrite | Self::SeqRead => Unit::Megabytes,
            _ => Unit::Operations,
        }
    }

    /// Whether nothing may be in memory when it starts.
    pub const fn is_cold(self) -> bool {
        matches!(
            self,
            Self::SeqRead | Self::RandRead(_) | Self::Stat(_) | Self::OpenRead(_) | Self::ReadDir(_)
        )
    }

    /// How many operations are under way at once.
    pub const fn width(self) -> usize {
        match self {
            Self::SeqWrite | Self::SeqRead => 1,
            Self::RandRead(depth) | Self::RandWrite(depth) | Self::SyncWrite(depth) | Self::Lock(depth) => {
                depth.get()
            }
            _ => match self.threads() {
                Some(threads) => threads.get(),
                None => 1,
            },
        }
    }

    /// Of a workload on names: by how many threads.
    pub const fn threads(self) -> Option<Threads> {
        match self {
            Self::Create(threads)
            | Self::Stat(threads)
            | Self::OpenRead(threads)
            | Self::ReadDir(threads)
            | Self::Rename(threads)
            | Self::Unlink(threads) => Some(threads),
            _ => None,
        }
    }

    /// Whether it is about the one large file.
    pub const fn uses_large_file(self) -> bool {
        self.threads().is_none()
    }

    /// Whether it writes over what the large file held.
    pub const fn overwrites(self) -> bool {
        matches!(self, Self::RandWrite(_) | Self::SyncWrite(_))
    }

    /// What is done, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::SeqWrite => "sequential write by 1 MiB, fsync at the end included",
            Self::SeqRead => "sequential read by 1 MiB",
            Self::RandRead(_) => "random read of 4 KiB, no block twice",
            Self::RandWrite(_) => "random write of 4 KiB over what is there, fsync at the end included",
            Self::SyncWrite(_) => "random write of 4 KiB, fdatasync after each",
            Self::Lock(_) => "lock and unlock by flock, shared",
            Self::Create(_) => "create, write 4 KiB, close",
            Self::Stat(_) => "stat by name, in the order of creation",
            Self::OpenRead(_) => "open, read 4 KiB, close",
            Self::ReadDir(_) => "names listed",
            Self::Rename(_) => "rename within the directory",
            Self::Unlink(_) => "unlink",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, width) = match self {
            Self::SeqWrite => return f.write_str("seq-write"),
            Self::SeqRead => return f.write_str("seq-read"),
            Self::RandRead(depth) => ("rand-read-d", depth.get()),
            Self::RandWrite(depth) => ("rand-write-d", depth.get()),
            Self::SyncWrite(depth) => ("sync-write-d", depth.get()),
            Self::Lock(depth) => ("lock-d", depth.get()),
            Self::Create(threads) => ("create-t", threads.get()),
            Self::Stat(threads) => ("stat-t", threads.get()),
            Self::OpenRead(threads) => ("open-read-t", threads.get()),
            Self::ReadDir(threads) => ("readdir-t", threads.get()),
            Self::Rename(threads) => ("rename-t", threads.get()),
            Self::Unlink(threads) => ("unlink-t", threads.get()),
        };
        write!(f, "{name}{width}")
    }
}

/// A name that no workload has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no workload {name:?}; there are {}", all_names())]
pub struct UnknownWorkload {
    /// The name.
    pub name: String,
}

fn all_names() -> String {
    Workload::ALL.map(|workload| workload.to_string()).join(", ")
}

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(name: &str) -> Result<Self, UnknownWorkload> {
        let found = Self::ALL.into_iter().find(|workload| workload.to_string() == name);
        found.ok_or_else(|| UnknownWorkload { name: name.to_owned() })
    }
}

impl serde::Serialize for Workload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_workload_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<_> = Workload::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Workload::ALL.len());
        for workload in Workload::ALL {
            assert_eq!(workload.to_string().parse(), Ok(workload));
            assert_eq!(workload.threads().is_none(), workload.uses_large_file());
        }
        let error = "seq".parse::<Workload>().expect_err("none").to_string();
        assert!(error.contains("seq-write") && error.contains("unlink-t4"), "{error}");
    }

    #[test]
    fn the_width_stands_in_the_name() {
        for workload in Workload::ALL.into_iter().filter(|workload| workload.unit() == Unit::Operations) {
            assert!(workload.to_string().ends_with(&workload.width().to_string()), "{workload}");
        }
    }
}
