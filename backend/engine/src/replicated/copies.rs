//! Reading records from the drives that hold them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use weft_types::{Digest, Position};
use weft_wire::log::ReadLog;
use weft_wire::ownership::{DriveHome, ShardRow};

use super::tail::{Entry, Whole};
use super::{ReplicatedLog, history};
use crate::log::record;
use crate::{Batch, DriveCallError, LogDrives, ReadError, ShardRegistry};

/// Bytes of records that are asked for at once.
const PAGE_BYTES: usize = 2 << 20;

/// Whether a drive's answer settles that it lacks something.
enum Miss {
    /// It answered.
    Lacks(String),
    /// It may have it.
    Silent(String),
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    /// One page of what a drive has after a sequence, and whether it is the last.
    async fn page(
        &self,
        home: DriveHome,
        after: u64,
        bytes: usize,
        wait: Duration,
    ) -> Result<(Vec<Entry>, bool), Miss> {
        let bytes = u32::try_from(bytes.min(PAGE_BYTES)).unwrap_or(u32::MAX);
        let call = self.drives.read(home, ReadLog { log: self.key, after, bytes });
        let (page, mut bulk): (_, Bytes) = match timeout(wait, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(DriveCallError::Unreachable(reason))) => return Err(Miss::Silent(reason)),
            Ok(Err(DriveCallError::Refused(refusal))) => return Err(Miss::Silent(refusal.to_string())),
            Err(_) => return Err(Miss::Silent("no answer in time".to_owned())),
        };
        let mut entries = Vec::with_capacity(page.entries.len());
        let mut last = after;
        for entry in page.entries {
            let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
            if entry.position.seq <= last || len > bulk.len() {
                return Err(Miss::Lacks("the drive's answer is malformed".to_owned()));
            }
            last = entry.position.seq;
            entries.push((entry.position, (len > 0).then(|| bulk.split_to(len))));
        }
        Ok((entries, page.end || last == after))
    }

    /// All that a drive has after a sequence.
    pub(super) async fn copy_of(&self, home: DriveHome, mut after: u64) -> Result<Vec<Entry>, String> {
        let mut copy = Vec::new();
        loop {
            let (entries, end) = match self.page(home, after, PAGE_BYTES, self.settings.call).await {
                Ok(page) => page,
                Err(Miss::Lacks(reason) | Miss::Silent(reason)) => return Err(reason),
            };
            after = entries.last().map_or(after, |(position, _)| position.seq);
            copy.extend(entries);
            if end {
                return Ok(copy);
            }
        }
    }

    /// Records from sequence `from` on, none behind `until` or the segment's end: about `bytes` of them, at least one.
    /// Each is whole, counts, and follows the one before it, whose digest is `before` where it is known.
    pub(super) async fn fetch(
        &self,
        row: &ShardRow,
        (from, until): (u64, u64),
        bytes: usize,
        before: Option<Digest>,
    ) -> Result<Vec<Whole>, ReadError> {
        let behind =
            row.segments.iter().position(|segment| segment.first > from).unwrap_or(row.segments.len());
        let Some(segment) = behind.checked_sub(1).and_then(|at| row.segments.get(at)) else {
            return Err(ReadError::Lost { seq: from, reason: "the row names no drives for it".to_owned() });
        };
        let until = row.segments.get(behind).map_or(until, |next| until.min(next.first - 1));
        let mut lacking = "no drive has it".to_owned();
        let mut silent = None;
        // A drive that does not answer at once is asked again, with more patience, when no other has it.
        let mut asked = segment.drives.clone();
        asked.sort_by_key(|home| self.state().silent.contains(home));
        for wait in [self.settings.late, self.settings.call] {
            let mut slow = Vec::new();
            for home in std::mem::take(&mut asked) {
                let page = self.page(home, from - 1, bytes, wait).await;
                let run = page.and_then(|(entries, _)| {
                    self.run_of(row, entries, (from, until), before).map_err(Miss::Lacks)
                });
                match run {
                    Ok(run) => {
                        self.state().silent.remove(&home);
                        return Ok(run);
                    }
                    Err(Miss::Lacks(reason)) => lacking = format!("drive {}: {reason}", home.drive),
                    Err(Miss::Silent(reason)) => {
                        self.state().silent.insert(home);
                        silent = Some(format!("drive {}: {reason}", home.drive));
                        slow.push(home);
                    }
                }
            }
            asked = slow;
        }
        Err(match silent {
            Some(reason) => ReadError::Unavailable { seq: from, reason },
            None => ReadError::Lost { seq: from, reason: lacking },
        })
    }

    /// The gap-free run of records that count at the front of what a drive gave.
    fn run_of(
        &self,
        row: &ShardRow,
        entries: Vec<Entry>,
        (from, until): (u64, u64),
        mut before: Option<Digest>,
    ) -> Result<Vec<Whole>, String> {
        let mut run: Vec<Whole> = Vec::new();
        let mut reason = "it does not have it".to_owned();
        for (position, bytes) in entries {
            let next = run.last().map_or(from, |last| last.position.seq + 1);
            if next > until || position.seq > next {
                break;
            }
            if !history::admits(row, position) {
                continue;
            }
            let Some(bytes) = bytes else {
                reason = "its copy is damaged".to_owned();
                break;
            };
            match Whole::parse(position, bytes, self.key.shard) {
                Ok(whole) if before.is_none_or(|before| before == whole.predecessor) => {
                    before = Some(whole.digest);
                    run.push(whole);
                }
                Ok(_) => {
                    reason = "it does not follow the record before it".to_owned();
                    break;
                }
                Err(damage) => {
                    reason = damage;
                    break;
                }
            }
        }
        if run.is_empty() { Err(reason) } else { Ok(run) }
    }

    /// The record at a sequence.
    pub(super) async fn fetch_one(&self, row: &ShardRow, seq: u64) -> Result<Whole, ReadError> {
        let run = self.fetch(row, (seq, seq), 0, None).await?;
        run.into_iter().next().ok_or(ReadError::Lost { seq, reason: "no drive has it".to_owned() })
    }

    /// [`ShardLog::read`](crate::ShardLog::read)
    pub(super) async fn read_after(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        let (row, end) = (self.row(), self.state().end);
        let start = row.checkpoint.as_ref().map(|root| root.position).unwrap_or_default();
        if after.seq < start.seq {
            return Err(ReadError::Trimmed { after, start });
        }
        let possible = if after.seq == start.seq { after == start } else { history::admits(&row, after) };
        if !possible
            || after.seq > end.position.seq
            || (after.seq == end.position.seq && after != end.position)
        {
            return Err(ReadError::NoSuchPosition(after));
        }
        if after == end.position {
            return Ok(Vec::new());
        }
        let known = self.state().read.filter(|known| known.position == after).map(|known| known.digest);
        let before = match known {
            Some(digest) => Some(digest),
            None if after.seq == 0 => Some(Digest([0; 32])),
            // The checkpoint says that it counts; the record itself may be gone.
            None if after == start => self.fetch_one(&row, after.seq).await.ok().map(|found| found.digest),
            None => {
                let found = self.fetch_one(&row, after.seq).await?;
                if found.position != after {
                    return Err(ReadError::NoSuchPosition(after));
                }
                Some(found.digest)
            }
        };
        let run = self.fetch(&row, (after.seq + 1, end.position.seq), bytes, before).await?;
        let batches = self.batches(&run, bytes)?;
        if let Some(last) = batches.len().checked_sub(1).and_then(|at| run.get(at)) {
            self.state().read = Some(super::Mark { position: last.position, digest: last.digest });
        }
        Ok(batches)
    }

    fn batches(&self, run: &[Whole], mut bytes: usize) -> Result<Vec<Batch>, ReadError> {
        let mut batches = Vec::with_capacity(run.len());
        for whole in run {
            if !batches.is_empty() && whole.bytes.len() > bytes {
                break;
            }
            bytes = bytes.saturating_sub(whole.bytes.len());
            match record::decode(&whole.bytes, self.key.shard) {
                Ok((_, batch, _)) => batches.push(batch),
                Err(error) => {
                    return Err(ReadError::Lost { seq: whole.position.seq, reason: error.to_string() });
                }
            }
        }
        Ok(batches)
    }
}
