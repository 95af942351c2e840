//! Formatting a device, and opening it: replay.

use std::io;
use std::sync::Arc;

use super::{Store, Tail, entry};
use weft_device::Device;
use crate::ledger::{Index, Ledger, Segment};
use crate::reader::Shared;
use crate::record::{RecordHeader, RecordKind};
use crate::scan::{FoundSegment, scan};
use crate::segment::{MIN_DEVICE_BYTES, SegmentKind, SegmentMap, SegmentState};
use crate::superblock::{DriveIdentity, HeaderSalt, Superblock, SuperblockError};
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
    /// Bytes of each segment, a multiple of 4096 from 16 KiB on; chosen by the device's size when absent. A segment
    /// must hold the longest shard that is to be stored.
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

    /// Opens a drive's device and replays its headers. Damage is counted, and nothing is repaired.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(device: D, expected: DriveIdentity) -> Result<Self, OpenError> {
        let (superblock, damaged_copies) = Superblock::read(&device)?;
        check(&superblock, expected, device.size())?;
        let map = SegmentMap::of(&superblock).ok_or(OpenError::Layout)?;
        let found = scan(&device, map, &superblock.salt).map_err(OpenError::Io)?;

        let shared = Arc::new(Shared::new(device, superblock.salt, map.capacity()));
        shared.damage.found(damaged_copies, &found);
        let (shards, tombstones) =
            (tail(&found, map, SegmentKind::Shards), tail(&found, map, SegmentKind::Tombstones));
        let next_seq = found.iter().map(newest_seq).max().unwrap_or(0) + SEQ_GAP;
        let flushed = found.iter().flat_map(|segment| &segment.records).map(|record| record.flushed).max();
        let mut index = Index::default();
        let ledger = replay(map, found, [shards, tombstones], &mut index);
        *shared.index_mut() = index;
        let mut store = Self {
            shared,
            map,
            ledger,
            shards,
            tombstones,
            next_seq,
            // A record is found because it is on the device; whether it would outlast a loss of power is not known,
            // but for those that a later one vouches for.
            flushed: flushed.unwrap_or(0),
            dirty: true,
            failed: false,
            dead_payloads: Vec::new(),
        };
        store.publish(|_, _| ());
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
    let records = segment.records.iter().map(|record| record.seq.max(record.flushed)).max();
    records.unwrap_or(0).max(segment.generation)
}

/// Where to go on appending: in the newest segment of the kind that is still open.
fn tail(found: &[FoundSegment], map: SegmentMap, kind: SegmentKind) -> Option<Tail> {
    let open = found.iter().enumerate().filter(|(_, f)| f.state == SegmentState::Open && f.kind == kind);
    let (segment, newest) = open.max_by_key(|(_, segment)| segment.generation)?;
    Some(Tail { segment, at: newest.end, end: map.records(segment).end })
}

/// Applies every record in the order in which they were written.
fn replay(map: SegmentMap, found: Vec<FoundSegment>, tails: [Option<Tail>; 2], index: &mut Index) -> Ledger {
    let in_use = |segment| tails.iter().flatten().any(|tail| tail.segment == segment);
    let segments = found.iter().enumerate().map(|(segment, found)| {
        let abandoned = found.state == SegmentState::Open && !in_use(segment);
        let state = if abandoned { SegmentState::Sealed } else { found.state };
        Segment::new(state, found.kind, found.generation)
    });
    let mut ledger = Ledger::new(map, segments.collect());
    let mut records: Vec<RecordHeader> = found.into_iter().flat_map(|segment| segment.records).collect();
    records.sort_unstable_by_key(|record| record.seq);
    for record in records {
        match record.kind {
            RecordKind::Shard => {
                ledger.stored(index, record.key, entry(&record));
            }
            RecordKind::Tombstone => {
                ledger.deleted(index, record.key, record.at);
            }
        }
    }
    ledger
}
