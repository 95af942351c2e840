//! One file of the log: a header, then records without gaps, then zeroes up to its preallocated length.
//!
//! | bytes | field (numbers little-endian) |
//! |---|---|
//! | 0..8 | magic `WEFTSEGM` |
//! | 8..10 | format, 1 |
//! | 10..12 | metadata shard |
//! | 12..16 | zero |
//! | 16..24 | number of the segment, from 1 |
//! | 24..32, 32..40 | epoch and sequence of the last batch before it |
//! | 40..48 | epoch that may append where it begins |
//! | 48..80 | BLAKE3 of the last record before it |
//! | 80..84 | CRC32C of bytes 0..80 |
//! | 512.. | records |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use weft_types::{Digest, Epoch, MetadataShard, Position};

/// Where records begin.
pub(super) const RECORDS_AT: u64 = 512;

const MAGIC: [u8; 8] = *b"WEFTSEGM";
/// The format that this version writes.
pub(super) const FORMAT: u16 = 1;
const CRC_AT: usize = 80;
const PREFIX: &str = "segment-";

/// Marks this far apart bound what a read has to skip.
const MARK_EVERY: u64 = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) shard: MetadataShard,
    pub(super) number: u64,
    /// The last batch before it.
    pub(super) start: Position,
    /// The epoch that may append where it begins.
    pub(super) epoch: Epoch,
    /// The last record before it.
    pub(super) predecessor: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    NotWhole,
    NewerFormat(u16),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; RECORDS_AT as usize] {
        let mut out = [0; RECORDS_AT as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &FORMAT.to_le_bytes());
        put(10, &self.shard.get().to_le_bytes());
        put(16, &self.number.to_le_bytes());
        put(24, &self.start.epoch.get().to_le_bytes());
        put(32, &self.start.seq.to_le_bytes());
        put(40, &self.epoch.get().to_le_bytes());
        put(48, &self.predecessor.0);
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let page = bytes.first_chunk::<{ RECORDS_AT as usize }>().ok_or(HeaderError::NotWhole)?;
        let short = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
        let long = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("8 bytes"));
        let crc = u32::from_le_bytes(page[CRC_AT..CRC_AT + 4].try_into().expect("4 bytes"));
        let rest_is_zero = page[CRC_AT + 4..].iter().all(|byte| *byte == 0);
        if page[..8] != MAGIC || crc != crc32c::crc32c(&page[..CRC_AT]) || !rest_is_zero {
            return Err(HeaderError::NotWhole);
        }
        if short(8) != FORMAT {
            return Err(HeaderError::NewerFormat(short(8)));
        }
        Ok(Self {
            shard: MetadataShard::new(short(10)),
            number: long(16),
            start: Position { epoch: Epoch::new(long(24)), seq: long(32) },
            epoch: Epoch::new(long(40)),
            predecessor: Digest(page[48..80].try_into().expect("32 bytes")),
        })
    }
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) number: u64,
    /// The last batch before it.
    pub(super) start: Position,
    /// Where its records end.
    pub(super) end: u64,
    /// Its length.
    pub(super) len: u64,
    /// Where some of its batches are, to begin reading there: (sequence, offset).
    marks: Vec<(u64, u64)>,
}

impl Segment {
    pub(super) fn new(path: PathBuf, file: File, header: &SegmentHeader, len: u64) -> Self {
        let (number, start) = (header.number, header.start);
        Self { path, file, number, start, end: RECORDS_AT, len, marks: Vec::new() }
    }

    pub(super) fn remaining(&self) -> u64 {
        self.len.saturating_sub(self.end)
    }

    /// Takes note of a record of `len` bytes at the end; `batch` is its sequence, if it is one.
    pub(super) fn extend(&mut self, batch: Option<u64>, len: u64) {
        if let Some(seq) = batch
            && self.marks.last().is_none_or(|(_, at)| self.end - at >= MARK_EVERY)
        {
            self.marks.push((seq, self.end));
        }
        self.end += len;
    }

    /// Where to begin to read so as not to miss batch `seq` if it is here.
    pub(super) fn seek(&self, seq: u64) -> u64 {
        let after = self.marks.partition_point(|(marked, _)| *marked <= seq);
        after.checked_sub(1).map_or(RECORDS_AT, |at| self.marks[at].1)
    }

    /// Writes a record at the end, durably. The end does not move yet.
    pub(super) fn write(&self, record: &[u8]) -> io::Result<()> {
        self.file.write_all_at(record, self.end)?;
        self.file.sync_data()
    }
}

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:016}"))
}

/// The numbers of the segments in a directory, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in dir.read_dir()? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|digits| digits.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A file of `len` zeroes whose room is allocated: writing to it cannot run out of space. `None`: no space.
pub(super) fn preallocate(path: &Path, len: u64) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let allocated = file.and_then(|file| {
        match fallocate(&file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP) => fill(&file, len)?,
            other => other?,
        }
        file.sync_all()?;
        Ok(file)
    });
    match allocated {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_full(&error) => {
            // What was allocated so far would be missing elsewhere.
            let _ = std::fs::remove_file(path);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn fill(file: &File, len: u64) -> io::Result<()> {
    static ZEROES: [u8; 1 << 16] = [0; 1 << 16];
    let mut at = 0;
    while at < len {
        let chunk = usize::try_from(len - at).unwrap_or(usize::MAX).min(ZEROES.len());
        file.write_all_at(&ZEROES[..chunk], at)?;
        at += chunk as u64;
    }
    Ok(())
}

/// Whether the host has no room for more, by space or by quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_any_flipped_bit_is_found() {
        let header = SegmentHeader {
            shard: MetadataShard::new(1),
            number: 2,
            start: Position { epoch: Epoch::new(3), seq: 4 },
            epoch: Epoch::new(5),
            predecessor: Digest([6; 32]),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&flipped), Err(HeaderError::NotWhole), "byte {at}");
        }
    }

    #[test]
    fn reading_begins_at_the_nearest_mark_before() {
        let dir = tempfile::tempdir().expect("directory");
        let header = SegmentHeader {
            shard: MetadataShard::new(0),
            number: 1,
            start: Position::default(),
            epoch: Epoch::new(1),
            predecessor: Digest([0; 32]),
        };
        let file = preallocate(&path(dir.path(), 1), 4 << 20).expect("creates").expect("fits");
        let mut segment = Segment::new(path(dir.path(), 1), file, &header, 4 << 20);
        for seq in 1..=12 {
            segment.extend(Some(seq), 100 << 10);
        }
        let at = |records: u64| RECORDS_AT + records * (100 << 10);
        assert_eq!(
            [0, 1, 3, 4, 12, 99].map(|seq| segment.seek(seq)),
            [at(0), at(0), at(0), at(3), at(9), at(9)]
        );
    }
}
