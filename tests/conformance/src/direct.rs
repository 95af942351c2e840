//! One file through a direct, a buffered and a mapped view at once, and through another mount, against its bytes in
//! memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use proptest::prelude::*;
use rustix::fs::OFlags;

use crate::model::pattern;
use crate::{Mapping, Mounts};

/// Longest file: three extents.
const FILE_BYTES_MAX: u64 = 9 << 20;

/// Through which descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `O_DIRECT`.
    Direct,
    /// Through the page cache.
    Buffered,
    /// A shared mapping of the whole file, made for the access and taken away after it. A write is synced only where
    /// another mount looks: within one mount it is seen without.
    Mapped,
    /// Through the page cache of the other mount, which only reads.
    Other,
}

/// One access to the file.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Touch {
    Read { view: View, at: u64, len: usize },
    Write { view: View, at: u64, len: usize, fill: u8 },
    Resize { len: u64 },
    Sync,
}

/// Random accesses; offsets and lengths lie on blocks, beside them, and around the borders of extents.
pub fn touches(len_max: usize) -> impl Strategy<Value = Vec<Touch>> {
    let writes = || prop_oneof![3 => Just(View::Direct), 2 => Just(View::Buffered), 2 => Just(View::Mapped)];
    let reads = || prop_oneof![3 => writes(), 1 => Just(View::Other)];
    let near =
        || prop::sample::select(vec![0_u64, 4096, 65_536, 1 << 20, 4 << 20, (4 << 20) - 4096, 8 << 20]);
    let beside = || prop_oneof![2 => Just(0_u64), 1 => 0..5000_u64, 1 => prop::sample::select(vec![1_u64, 511, 512, 4095])];
    let at = move || (near(), beside()).prop_map(|(near, beside)| near + beside);
    let len = || prop::sample::select(vec![1_usize, 512, 4095, 4096, 8192, 10_000, 65_536, 300_000]);
    let touch = prop_oneof![
        4 => (reads(), at(), len()).prop_map(|(view, at, len)| Touch::Read { view, at, len }),
        5 => (writes(), at(), len(), any::<u8>()).prop_map(|(view, at, len, fill)| Touch::Write { view, at, len, fill }),
        1 => at().prop_map(|len| Touch::Resize { len }),
        1 => Just(Touch::Sync),
    ];
    proptest::collection::vec(touch, 1..len_max)
}

/// Does the accesses to a new file of this name in a folder of two mounts, and compares each read, and all at the end through each view.
///
/// # Errors
/// The first difference, or what the filesystem refused: FUSE demands no alignment of direct accesses, so none is refused.
pub fn agree(touches: &[Touch], folder: &Mounts, name: &str) -> Result<(), String> {
    let views = Views::open(folder, name).map_err(|error| format!("open: {error}"))?;
    let mut bytes = Vec::new();
    let last = [View::Direct, View::Mapped, View::Buffered, View::Other];
    let last = last.map(|view| Touch::Read { view, at: 0, len: FILE_BYTES_MAX as usize * 2 });
    for (number, touch) in touches.iter().chain(&last).enumerate() {
        let found =
            views.apply(touch, bytes.len()).map_err(|error| format!("{number}: {touch:?}: {error}"))?;
        let expected = apply(&mut bytes, touch);
        if found != expected {
            return Err(format!("{number}: {touch:?}: {}", difference(&expected, &found)));
        }
    }
    Ok(())
}

fn difference(expected: &[u8], found: &[u8]) -> String {
    let at = expected.iter().zip(found).position(|(expected, found)| expected != found);
    let at = at.unwrap_or(expected.len().min(found.len()));
    format!("{} of {} bytes, byte {at} is the first other one", found.len(), expected.len())
}

/// What a touch does to the bytes; of a read what it gives.
fn apply(bytes: &mut Vec<u8>, touch: &Touch) -> Vec<u8> {
    match *touch {
        Touch::Read { at, len, .. } => {
            let start = bytes.len().min(at as usize);
            let end = bytes.len().min(start + len);
            return bytes[start..end].to_vec();
        }
        Touch::Write { view, at, len, fill } => {
            let at = at as usize;
            let len = if view == View::Mapped { within(bytes.len(), at, len) } else { len };
            if len > 0 {
                bytes.resize(bytes.len().max(at + len), 0);
                bytes[at..at + len].copy_from_slice(&pattern(fill, len));
            }
        }
        Touch::Resize { len } => bytes.resize(len as usize, 0),
        Touch::Sync => {}
    }
    Vec::new()
}

/// What of a range is within the file: a mapping does not lengthen it.
const fn within(file_len: usize, at: usize, len: usize) -> usize {
    let rest = file_len.saturating_sub(at);
    if rest < len { rest } else { len }
}

struct Views {
    buffered: File,
    direct: File,
    other: File,
    /// Whether the other mount is another one.
    apart: bool,
}

impl Views {
    fn open(folder: &Mounts, name: &str) -> io::Result<Self> {
        let open = |flags: OFlags| {
            let mut options = OpenOptions::new();
            let flags = i32::try_from(flags.bits()).expect("flags are small");
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags)
                .open(folder.a.join(name))
        };
        Ok(Self {
            buffered: open(OFlags::empty())?,
            direct: open(OFlags::DIRECT)?,
            other: File::open(folder.b.join(name))?,
            apart: folder.a != folder.b,
        })
    }

    fn apply(&self, touch: &Touch, file_len: usize) -> io::Result<Vec<u8>> {
        match *touch {
            Touch::Read { view: View::Mapped, at, len } => {
                let len = within(file_len, at as usize, len);
                if len == 0 {
                    return Ok(Vec::new());
                }
                return Ok(self.mapping(file_len)?.read(at as usize, len));
            }
            Touch::Write { view: View::Mapped, at, len, fill } => {
                let len = within(file_len, at as usize, len);
                if len > 0 {
                    let mapping = self.mapping(file_len)?;
                    mapping.write(at as usize, &pattern(fill, len));
                    if self.apart {
                        mapping.sync()?;
                    }
                }
            }
            Touch::Read { view, at, len } => return read(self.file(view), at, len),
            Touch::Write { view, at, len, fill } => self.file(view).write_all_at(&pattern(fill, len), at)?,
            Touch::Resize { len } => self.buffered.set_len(len)?,
            Touch::Sync => self.direct.sync_all()?,
        }
        Ok(Vec::new())
    }

    /// A mapping of the whole file: of one that is shorter than it must be, touching its end would end the test.
    fn mapping(&self, file_len: usize) -> io::Result<Mapping> {
        match self.buffered.metadata()?.len() {
            len if len == file_len as u64 => Mapping::of(&self.buffered, file_len),
            len => Err(io::Error::other(format!("the file has {len} bytes instead of {file_len}"))),
        }
    }

    const fn file(&self, view: View) -> &File {
        match view {
            View::Direct => &self.direct,
            View::Buffered | View::Mapped => &self.buffered,
            View::Other => &self.other,
        }
    }
}

/// Reads until there is nothing more or enough.
fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match file.read_at(&mut bytes[have..], at + have as u64)? {
            0 => break,
            more => have += more,
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_write_ends_with_the_file() {
        let mut bytes = Vec::new();
        apply(&mut bytes, &Touch::Write { view: View::Direct, at: 1, len: 3, fill: 0 });
        apply(&mut bytes, &Touch::Write { view: View::Mapped, at: 3, len: 9, fill: 1 });
        assert_eq!(bytes, [0, 0, 1, 17]);
        apply(&mut bytes, &Touch::Resize { len: 2 });
        assert_eq!(apply(&mut bytes, &Touch::Read { view: View::Mapped, at: 1, len: 9 }), [0]);
        assert_eq!(difference(&[1, 2, 3], &[1, 9, 3]), "3 of 3 bytes, byte 1 is the first other one");
    }
}
