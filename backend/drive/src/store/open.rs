//! Formatting a device, and opening it: replay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use super::Store;
use super::group::Group;
use super::segments::{Sealing, Tail, Tails};
use crate::ledger::{Index, Ledger, Segment};
use crate::reader::Shared;
use crate::scan::{FoundSegment, Scanner};
use crate::segment::{MIN_DEVICE_BYTES, SegmentKind, SegmentMap, SegmentState};
use crate::superblock::{DriveIdentity, HeaderSalt, Superblock, SuperblockError};
use weft_device::Device;
use weft_types::{ClusterId, DriveId, Incarnation};

/// Sequences left out at every open, so that none that was handed out and lost is handed out again: more than
/// a device can take between two opens.
const SEQ_GAP: u64 = 1 << 32;

/// How a device is formatted.
#[derive(Debug, Clone, Copy)]
pub struct FormatOptions {
    /// Whose it becomes.
    pub identity: DriveIdentity,
    /// 32 bytes from a cryptographically strong random source.
    pub salt: HeaderSalt,
    /// Bytes of each segment, a multiple of 4096 from 32 KiB on; chosen by the device's size when absent. A segment
    /// must hold the longest shard or item that is to be stored.
    pub segment_bytes: Option<u64>,
}

/// Why a device was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It holds, or held, a drive's data.
    #[error("the device is formatted already")]
    AlreadyFormatted,
    /// It cannot be divided into segments.
    #[error("a device of {found} bytes is too small; it takes {MIN_DEVICE_BYTES}")]
    TooSmall {
        /// Its bytes.
        found: u64,
    },
    /// The device failed.
    #[error("the device failed")]
    Io(#[source] io::Error),
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It has no readable superblock.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// It belongs to another cluster.
    #[error("the device belongs to cluster {found}, not to {expected}")]
    OtherCluster {
        /// The cluster it names.
        found: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// It is another drive of the cluster.
    #[error("the device is drive {found}, not {expected}")]
    OtherDrive {
        /// The drive it names.
        found: DriveId,
        /// The one expected.
        expected: DriveId,
    },
    /// It was formatted again, or an old copy came back.
    #[error("the device is incarnation {found} of its drive, not {expected}")]
    OtherIncarnation {
        /// The incarnation it names.
        found: Incarnation,
        /// The one expected.
        expected: Incarnation,
    },
    /// The device is shorter than it was.
    #[error("the device has {found} bytes and was formatted with {expected}: it is truncated")]
    Truncated {
        /// Its bytes.
        found: u64,
        /// Its bytes when it was formatted.
        expected: u64,
    },
    /// An intact superblock says what no format does.
    #[error("the superblock describes no layout of this version")]
    Layout,
    /// The device failed.
    #[error("the device failed")]
    Io(#[source] io::Error),
}

impl<D: Device> Store<D> {
    /// Makes a blank device a drive's. Durable on return.
    ///
    /// # Errors
    /// [`FormatError`]; any trace of a superblock refuses.
    pub fn format(device: &D, options: FormatOptions) -> Result<(), FormatError> {
        match Superblock::read(device) {
            Err(SuperblockError::NotWeft) => {}
            Err(SuperblockError::Io(error)) => return Err(FormatError::Io(error)),
            Ok(_) | Err(SuperblockError::Damaged | SuperblockError::NewerFormat { .. }) => {
                return Err(FormatError::AlreadyFormatted);
            }
        }
        let size = device.size();
        let segment_bytes =
            options.segment_bytes.unwrap_or_else(|| SegmentMap::preferred_segment_bytes(size));
        SegmentMap::new(size, segment_bytes).ok_or(FormatError::TooSmall { found: size })?;
        let superblock = Superblock { identity: options.identity, size, segment_bytes, salt: options.salt };
        superblock.write(device).and_then(|()| device.flush()).map_err(FormatError::Io)
    }

    /// Opens a drive's device and replays its headers. Damage is counted and not repaired. Unfinished writes of a
    /// process that was killed are erased, and finished ones made durable.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that was promised was changed.
    pub fn open(device: D, expected: DriveIdentity) -> Result<Self, OpenError> {
        let (superblock, damaged_copies) = Superblock::read(&device)?;
        check(&superblock, expected, device.size())?;
        let map = SegmentMap::of(&superblock).ok_or(OpenError::Layout)?;
        let scanner = Scanner { device: &device, map, salt: &superblock.salt };
        let (found, vouched) = scanner.scan().map_err(OpenError::Io)?;
        let newest = found.iter().map(newest_seq).max().unwrap_or(0);
        let flushed = found.iter().filter_map(|found| found.records.last()).map(|record| record.seq).max();
        let flushed = flushed.unwrap_or(0).max(vouched);
        if flushed > vouched {
            // A record is found because the host has it; from now on it counts, and must outlast a loss of power.
            device.flush().map_err(OpenError::Io)?;
        }

        let shared = Arc::new(Shared::new(device, superblock.salt, map));
        shared.damage.found(damaged_copies, &found);
        let (tails, sealing) = tails(&found, map);
        let mut index = Index::default();
        let ledger = replay(map, found, &tails, &mut index);
        *shared.index_mut() = index;
        let store = Self {
            shared,
            map,
            ledger,
            tails,
            group: Group::default(),
            sealing,
            victim: None,
            next_seq: newest + SEQ_GAP,
            flushed,
            vouched,
            dirty: false,
            failed: false,
            host_full: false,
            dead_payloads: Vec::new(),
        };
        let mut index = store.shared.index_mut();
        index.writable = store.writable(index.used);
        drop(index);
        Ok(store)
    }
}

fn check(superblock: &Superblock, expected: DriveIdentity, size: u64) -> Result<(), OpenError> {
    let found = superblock.identity;
    if found.cluster != expected.cluster {
        return Err(OpenError::OtherCluster { found: found.cluster, expected: expected.cluster });
    }
    if found.drive != expected.drive {
        return Err(OpenError::OtherDrive { found: found.drive, expected: expected.drive });
    }
    if found.incarnation != expected.incarnation {
        let (found, expected) = (found.incarnation, expected.incarnation);
        return Err(OpenError::OtherIncarnation { found, expected });
    }
    if size < superblock.size {
        return Err(OpenError::Truncated { found: size, expected: superblock.size });
    }
    Ok(())
}

fn newest_seq(segment: &FoundSegment) -> u64 {
    let last = segment.records.last().map_or(0, |record| record.seq);
    last.max(segment.flushed).max(segment.generation)
}

/// Where to go on appending: in the newest segment of each kind that is still open and has nothing unfinished in it,
/// unless there is no other left. The others that are open are to be sealed, as are those whose summary is lost.
fn tails(found: &[FoundSegment], map: SegmentMap) -> (Tails, Vec<Sealing>) {
    let mut tails = Tails::default();
    let scarce = !found.iter().any(|found| found.state == SegmentState::Free);
    let open = || found.iter().enumerate().filter(|(_, found)| found.state == SegmentState::Open);
    for kind in SegmentKind::ALL {
        let newest = open().filter(|(_, found)| found.kind == kind).max_by_key(|(_, found)| found.generation);
        if let Some((segment, found)) = newest.filter(|(_, found)| !found.unfinished || scarce) {
            tails.set(kind, Tail::new(map, segment, found.generation, &found.records));
        }
    }
    let left = found.iter().enumerate().filter(|(segment, found)| match found.state {
        SegmentState::Open => !is_tail(&tails, *segment, found.kind),
        SegmentState::Sealed => found.to_sum_up,
        SegmentState::Free => false,
    });
    let sealing =
        left.map(|(segment, found)| Sealing::of(map, segment, found.kind, found.generation, &found.records));
    let sealing = sealing.collect();
    (tails, sealing)
}

fn is_tail(tails: &Tails, segment: usize, kind: SegmentKind) -> bool {
    tails.get(kind).is_some_and(|tail| tail.segment == segment)
}

/// Applies every record in the order in which they were written.
fn replay(map: SegmentMap, found: Vec<FoundSegment>, tails: &Tails, index: &mut Index) -> Ledger {
    let segments = found.iter().enumerate().map(|(segment, found)| {
        let abandoned = found.state == SegmentState::Open && !is_tail(tails, segment, found.kind);
        let state = if abandoned { SegmentState::Sealed } else { found.state };
        Segment::new(state, found.generation)
    });
    let mut ledger = Ledger::new(map, segments.collect());
    index.generations = found.iter().map(|found| found.generation).collect();
    let mut runs: Vec<_> = found.into_iter().map(|found| found.records.into_iter()).collect();
    // The next sequence of every run.
    let mut next: BinaryHeap<_> = runs
        .iter()
        .enumerate()
        .filter_map(|(run, records)| Some(Reverse((records.as_slice().first()?.seq, run))))
        .collect();
    while let Some(Reverse((_, run))) = next.pop() {
        // Runs follow each other more than they mix.
        let until = next.peek().map_or(u64::MAX, |Reverse((seq, _))| *seq);
        let records = &mut runs[run];
        while records.as_slice().first().is_some_and(|record| record.seq <= until) {
            let Some(record) = records.next() else { break };
            ledger.apply(index, &record);
        }
        if let Some(record) = records.as_slice().first() {
            next.push(Reverse((record.seq, run)));
        }
    }
    for segment in 0..map.count {
        let account = &ledger.segments()[segment];
        if account.state == SegmentState::Sealed && account.written() <= map.segment_bytes / 2 {
            ledger.abandoned(segment);
        }
    }
    ledger
}
