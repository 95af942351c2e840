//! Reading a segment when a log is opened, and telling a torn tail from damage.
//!
//! A batch is written whole and then flushed, and the next is written only after that. So a crash leaves at most the
//! last record incomplete, and incomplete means that bytes are still zero: from some byte on, or in whole sectors.
//! Anything else was durable once and has changed since; cutting it off would undo what was acknowledged.

use weft_types::{Digest, Epoch, MetadataShard, Position};

use super::record::{self, HEADER_BYTES, Header, Record, RecordError};
use super::segment::RECORDS_AT;

/// The least that a device writes or loses.
const SECTOR: usize = 512;

/// Where a log stands after some record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The last batch.
    pub(super) end: Position,
    /// The epoch that may append.
    pub(super) epoch: Epoch,
    /// The last record.
    pub(super) digest: Digest,
}

/// Bytes at an offset of the segment are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) reason: String,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// After its last whole record.
    pub(super) head: Head,
    /// Its whole records: sequence if it is a batch, and bytes.
    pub(super) records: Vec<(Option<u64>, u64)>,
    /// The digest before its last whole record: what that one was appended to.
    pub(super) before_last: Digest,
    /// Bytes of an incomplete record behind the last whole one, to be cut.
    pub(super) torn: u64,
}

/// Reads a segment's bytes, its header included; `head` is where the log stands before it.
pub(super) fn scan(bytes: &[u8], shard: MetadataShard, mut head: Head, last: bool) -> Result<Scan, Damage> {
    let mut at = RECORDS_AT as usize;
    let (mut records, mut before_last) = (Vec::new(), head.digest);
    let stop = loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.first_chunk::<8>().is_none_or(|magic| *magic == [0; 8]) {
            break None;
        }
        let (header, record, digest) = match record::decode(rest, shard) {
            Ok(whole) => whole,
            Err(error) => break Some(error),
        };
        let next = follow(head, &header, &record)
            .map_err(|reason| Damage { offset: at as u64, reason: reason.to_owned() })?;
        before_last = head.digest;
        head = Head { digest, ..next };
        let batch = matches!(record, Record::Batch(_)).then(|| record.position().seq);
        records.push((batch, header.record_len()));
        at += usize::try_from(header.record_len()).expect("the record is in memory");
    };
    let torn = torn(bytes, at, shard, stop)?;
    if torn > 0 && !last {
        let reason = "a record is cut off, and there are later segments".to_owned();
        return Err(Damage { offset: at as u64, reason });
    }
    Ok(Scan { head, records, before_last, torn })
}

/// Where the log stands after a record, but for its digest, if the record may follow.
fn follow(head: Head, header: &Header, record: &Record) -> Result<Head, &'static str> {
    if header.predecessor != head.digest {
        return Err("a record does not follow the one before it");
    }
    let Position { epoch, seq } = record.position();
    match record {
        Record::Batch(_) if epoch == head.epoch && seq == head.end.seq + 1 => {
            Ok(Head { end: record.position(), ..head })
        }
        Record::Begin(_) if epoch > head.epoch && seq == head.end.seq => Ok(Head { epoch, ..head }),
        _ => Err("a record is out of order"),
    }
}

/// How many bytes from `at` on are left of a record that was cut off: 0 when there are only zeroes.
fn torn(bytes: &[u8], at: usize, shard: MetadataShard, stop: Option<RecordError>) -> Result<u64, Damage> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(written) = rest.iter().rposition(|byte| *byte != 0).map(|last| last + 1) else {
        return Ok(0);
    };
    let reason = stop.unwrap_or(RecordError::Header).to_string();
    let damaged = || Damage { offset: at as u64, reason: reason.clone() };
    let later = (1..rest.len()).filter(|&from| rest[from..].starts_with(&record::MAGIC));
    if let Some(from) = later.into_iter().find(|&from| Header::parse(&rest[from..], shard).is_ok()) {
        let reason = format!("{reason}, and another follows at byte {}", at + from);
        return Err(Damage { offset: at as u64, reason });
    }
    let cut = match Header::parse(rest, shard) {
        Ok(header) => {
            let len = usize::try_from(header.record_len()).map_err(|_| damaged())?;
            written < len || (written == len && has_hole(bytes, at, at + len))
        }
        Err(RecordError::Format(_) | RecordError::Shard(_)) => false,
        Err(_) => written < HEADER_BYTES || has_hole(bytes, at, at + HEADER_BYTES),
    };
    if cut { Ok(written as u64) } else { Err(damaged()) }
}

/// Whether all that lies in some one sector between two offsets is zero.
fn has_hole(bytes: &[u8], from: usize, until: usize) -> bool {
    let mut at = from;
    while at < until {
        let next = (at / SECTOR + 1) * SECTOR;
        let sector = &bytes[at.min(bytes.len())..next.min(until).min(bytes.len())];
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}
