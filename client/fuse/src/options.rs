//! Mount options in the field's words.

mod words;

use weft_core::{MEMORY_DEFAULT, MEMORY_MIN, READ_AHEAD_DEFAULT};
use weft_types::ByteCount;

pub use words::MOUNT_OPTIONS_HELP;

/// The most memory that a mount may be given: 1 TiB.
const MEMORY_MAX: ByteCount = ByteCount::new(1 << 40);
/// The furthest that is read ahead: 1 GiB.
const READ_AHEAD_MAX: ByteCount = ByteCount::new(1 << 30);

/// What the kernel and the mount keep of files between an application and the drives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// `writecache`: what is read stays in memory, and what is written is on the drives seconds later, or after fsync.
    #[default]
    Write,
    /// `readcache`: what is read stays in memory; a write is on the drives when it returns.
    Read,
    /// `forcedirect`: the kernel keeps no pages: each read and each write is the mount's.
    Direct,
}

/// What a mount allows, and how it works. The defaults are those of a local filesystem mounted by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: the mount only reads.
    pub read_only: bool,
    /// Not `nosuid`: set-user-id and set-group-id bits count.
    pub suid: bool,
    /// Not `nodev`: device nodes open devices.
    pub dev: bool,
    /// Not `noexec`: files can be executed.
    pub exec: bool,
    /// `relatime`, and not `noatime`: reads set times of access.
    pub access_times: bool,
    /// `writecache`, `readcache` or `forcedirect`.
    pub cache: CacheMode,
    /// `sync`: a write is on the drives when it returns.
    pub sync: bool,
    /// `allow_other`: users other than the one who mounts may use it. Unless said, they may when root mounts.
    pub allow_other: Option<bool>,
    /// `memory`: for all caches of the mount, of 128 MiB to 1 TiB.
    pub memory: ByteCount,
    /// `readahead`: how far is read ahead of a reader at most, up to 1 GiB; 0 is not at all.
    pub read_ahead: ByteCount,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            suid: true,
            dev: true,
            exec: true,
            access_times: true,
            cache: CacheMode::default(),
            sync: false,
            allow_other: None,
            memory: MEMORY_DEFAULT,
            read_ahead: READ_AHEAD_DEFAULT,
        }
    }
}

/// A word that is no mount option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is none of this name.
    #[error("'{word}' is not a mount option; there are {}", words::listed())]
    Unknown {
        /// The word.
        word: String,
    },
    /// Its value cannot be.
    #[error("'{word}': {reason}")]
    Value {
        /// The word with its value.
        word: String,
        /// What may be.
        reason: String,
    },
    /// Other filesystems have it.
    #[error("'{word}' is not done here: {instead}")]
    NotDone {
        /// The word.
        word: String,
        /// What is.
        instead: &'static str,
    },
}

impl MountOptions {
    /// Reads a list as `mount -o` takes it: words with commas between them, the last of a kind wins.
    ///
    /// # Errors
    /// [`OptionError`] names the first word that is no option.
    pub fn parse(list: &str) -> Result<Self, OptionError> {
        Self::default().with(list)
    }

    /// These options, but for what a list says.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn with(mut self, list: &str) -> Result<Self, OptionError> {
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let known = match word.split_once('=') {
                Some((name, value)) => self.set_value(name, value, word)?,
                None => self.set(word)?,
            };
            if !known && !words::means_nothing_here(word) {
                return Err(OptionError::Unknown { word: word.to_owned() });
            }
        }
        match list.split(',').find(|word| self.access_times && *word == "nodiratime") {
            Some(word) => Err(words::not_done(word, "noatime is, which holds for directories too")),
            None => Ok(self),
        }
    }

    /// Takes a word; false when it is none of those that change something.
    fn set(&mut self, word: &str) -> Result<bool, OptionError> {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            "atime" | "relatime" => self.access_times = true,
            "noatime" => self.access_times = false,
            "writecache" => self.cache = CacheMode::Write,
            "readcache" => self.cache = CacheMode::Read,
            "forcedirect" => self.cache = CacheMode::Direct,
            "sync" => self.sync = true,
            "async" => self.sync = false,
            "allow_other" => self.allow_other = Some(true),
            "noallow_other" => self.allow_other = Some(false),
            _ => return words::done_otherwise(word).map_or(Ok(false), Err),
        }
        Ok(true)
    }

    fn set_value(&mut self, name: &str, value: &str, word: &str) -> Result<bool, OptionError> {
        match name {
            "memory" => self.memory = size(value, word, MEMORY_MIN..=MEMORY_MAX)?,
            "readahead" => self.read_ahead = size(value, word, ByteCount::new(0)..=READ_AHEAD_MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An option in which these differ and that holds for as long as a filesystem is mounted.
    pub fn fixed_difference(&self, other: &Self) -> Option<&'static str> {
        let fixed = [
            (self.cache != other.cache, "the cache (writecache, readcache, forcedirect)"),
            (self.sync != other.sync, "sync"),
            (self.allow_other != other.allow_other, "allow_other"),
            (self.memory != other.memory, "memory"),
            (self.read_ahead != other.read_ahead, "readahead"),
        ];
        fixed.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }

    /// Whether a write is on the drives when it returns.
    pub(crate) fn writes_through(&self) -> bool {
        self.sync || self.cache == CacheMode::Read
    }

    /// As the kernel is told, for a filesystem of this name.
    pub(crate) fn for_kernel(&self, filesystem: &str) -> weft_fusedev::MountOptions {
        weft_fusedev::MountOptions {
            source: format!("weft:{filesystem}"),
            subtype: "weft".to_owned(),
            read_only: self.read_only,
            suid: self.suid,
            dev: self.dev,
            exec: self.exec,
            access_times: self.access_times,
            allow_other: self.allow_other.unwrap_or_else(|| rustix::process::geteuid().is_root()),
        }
    }
}

fn size(
    value: &str,
    word: &str,
    bounds: core::ops::RangeInclusive<ByteCount>,
) -> Result<ByteCount, OptionError> {
    let refused = |reason| OptionError::Value { word: word.to_owned(), reason };
    let size: ByteCount = value.parse().map_err(|error: weft_types::SizeError| refused(error.to_string()))?;
    if bounds.contains(&size) {
        return Ok(size);
    }
    Err(refused(format!("it may be from {} to {}", bounds.start(), bounds.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_lists_are_read_as_mount_reads_them() {
        let default = MountOptions::default();
        let mib = |count: u64| ByteCount::new(count << 20);
        let rows = [
            ("", default.clone()),
            ("rw,defaults,relatime", default.clone()),
            ("_netdev,nofail,noauto,x-systemd.automount,x-a=b,user,comment=mine,dirsync", default.clone()),
            ("ro,nosuid", MountOptions { read_only: true, suid: false, ..default.clone() }),
            ("nodev,noexec,ro,rw", MountOptions { dev: false, exec: false, ..default.clone() }),
            ("noatime,nodiratime", MountOptions { access_times: false, ..default.clone() }),
            ("noatime,atime", default.clone()),
            ("readcache", MountOptions { cache: CacheMode::Read, ..default.clone() }),
            ("forcedirect,sync", MountOptions { cache: CacheMode::Direct, sync: true, ..default.clone() }),
            ("forcedirect,writecache,sync,async", default.clone()),
            ("noallow_other", MountOptions { allow_other: Some(false), ..default.clone() }),
            ("memory=128MiB", MountOptions { memory: mib(128), ..default.clone() }),
            ("memory=2G,readahead=0", MountOptions { memory: mib(2048), read_ahead: mib(0), ..default }),
        ];
        for (list, options) in rows {
            assert_eq!(MountOptions::parse(list), Ok(options), "{list}");
        }
    }

    #[test]
    fn what_is_no_option_is_named_with_what_there_is() {
        let rows = [
            ("ro,fast", &["'fast'", "writecache", "memory=SIZE", "noatime"][..]),
            ("memory", &["'memory'", "memory=SIZE"]),
            ("ro=1", &["'ro=1'"]),
            ("memory=1MiB", &["'memory=1MiB'", "128 MiB", "1.00 TiB"]),
            ("memory=much", &["'memory=much'", "such as"]),
            ("readahead=2GiB", &["'readahead=2GiB'", "1.00 GiB"]),
            ("strictatime", &["'strictatime'", "relatime"]),
            ("nodiratime", &["'nodiratime'", "noatime"]),
            ("remount,ro", &["'remount'", "mount -o remount"]),
        ];
        for (list, words) in rows {
            let said = MountOptions::parse(list).expect_err(list).to_string();
            for word in words {
                assert!(said.contains(word), "{list}: {said}");
            }
        }
    }

    #[test]
    fn a_list_changes_only_what_it_says() {
        let before = MountOptions::parse("ro,nosuid,memory=256MiB").expect("options");
        let after = before.clone().with("rw,noatime").expect("options");
        assert_eq!(after, MountOptions { read_only: false, access_times: false, ..before });
    }
}
