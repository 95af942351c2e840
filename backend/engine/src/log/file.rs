//! The log as files of one directory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weft_types::{Digest, Epoch, MetadataShard, Position};

use super::open::{Head, scan};
use super::record::{self, HEADER_BYTES, Header, Record};
use super::segment::{self, HeaderError, RECORDS_AT, Segment, SegmentHeader, preallocate};
use super::{
    AppendError, BATCH_BYTES_MAX, Batch, Deposed, Log, OpenLogError, ReadError, Room, SealError, TrimError,
    check_order,
};
use crate::directory;

const LOCK: &str = "lock";
const SPARE: &str = "spare";
const RESERVE: &str = "reserve";

/// How a [`FileLog`] uses its host.
#[derive(Debug, Clone, Copy)]
pub struct FileLogOptions {
    /// Bytes of a segment. Each is allocated before it is written to.
    pub segment_bytes: u64,
    /// With less than this free on the host, room is [`Room::Reserve`] at best: what else writes there, such as the
    /// index, must be able to go on.
    pub headroom_bytes: u64,
    /// Most bytes that all files of the log may take; beyond, there is no space.
    pub limit_bytes: u64,
}

impl Default for FileLogOptions {
    /// Segments of 16 MiB, 64 MiB of headroom, and no limit.
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, headroom_bytes: 64 << 20, limit_bytes: u64::MAX }
    }
}

/// The log of a metadata shard in one directory of this host: segments of records, each flushed before it counts.
///
/// Beside the segments lie `spare`, the next one, allocated before it is needed; `reserve`, which lets batches that
/// make room through on a full host; and `lock`, which keeps a second process out.
#[derive(Debug)]
pub struct FileLog {
    dir: PathBuf,
    shard: MetadataShard,
    options: FileLogOptions,
    /// The oldest first; never empty.
    segments: VecDeque<Segment>,
    head: Head,
    /// The digest before the last record, to know that one when it is offered again.
    before_last: Digest,
    failed: bool,
    _lock: File,
}

impl FileLog {
    /// Opens the log in `dir`, or begins one. A record that was cut off at the end is removed.
    ///
    /// # Errors
    /// [`OpenLogError`]
    pub fn open(dir: &Path, shard: MetadataShard, options: FileLogOptions) -> Result<Self, OpenLogError> {
        let device = |path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenLogError::Device { path, source }
        };
        fs::create_dir_all(dir).map_err(device(dir))?;
        let lock = lock(dir)?;
        let numbers = segment::list(dir).map_err(device(dir))?;
        let head = Head { end: Position::default(), epoch: Epoch::default(), digest: Digest([0; 32]) };
        let mut log = Self {
            dir: dir.to_path_buf(),
            shard,
            options,
            segments: VecDeque::new(),
            head,
            before_last: head.digest,
            failed: false,
            _lock: lock,
        };
        for (at, &number) in numbers.iter().enumerate() {
            if number != numbers[0] + at as u64 {
                return Err(OpenLogError::Missing { path: segment::path(dir, numbers[0] + at as u64) });
            }
            log.open_segment(number, at + 1 == numbers.len())?;
        }
        if log.segments.is_empty() && !log.rotate(1, Room::Reserve).map_err(device(dir))? {
            return Err(OpenLogError::NoSpace { path: dir.to_path_buf() });
        }
        Ok(log)
    }

    fn open_segment(&mut self, number: u64, last: bool) -> Result<(), OpenLogError> {
        let path = segment::path(&self.dir, number);
        let device = |source| OpenLogError::Device { path: path.clone(), source };
        let damaged = |offset, reason| OpenLogError::Damaged { path: path.clone(), offset, reason };
        let bytes = fs::read(&path).map_err(device)?;
        let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
            HeaderError::NotWhole => damaged(0, "the segment's header fails its checksum".to_owned()),
            HeaderError::NewerFormat(found) => {
                OpenLogError::NewerFormat { path: path.clone(), found, known: segment::FORMAT }
            }
        })?;
        if header.shard != self.shard {
            let (found, expected) = (header.shard, self.shard);
            return Err(OpenLogError::OtherShard { path, found, expected });
        }
        let start = Head { end: header.start, epoch: header.epoch, digest: header.predecessor };
        if header.number != number || !(self.segments.is_empty() || start == self.head) {
            return Err(damaged(
                0,
                format!("the segment does not follow segment {}", number.saturating_sub(1)),
            ));
        }
        let scan =
            scan(&bytes, self.shard, start, last).map_err(|damage| damaged(damage.offset, damage.reason))?;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(device)?;
        let mut segment = Segment::new(path.clone(), file, &header, bytes.len() as u64);
        for (batch, len) in &scan.records {
            segment.extend(*batch, *len);
        }
        if last {
            settle_tail(&segment, &bytes, scan.records.last().map(|(_, len)| *len), scan.torn)
                .map_err(device)?;
        }
        self.head = scan.head;
        self.before_last = scan.before_last;
        self.segments.push_back(segment);
        Ok(())
    }

    fn tail(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has a segment")
    }

    /// Begins segment `number` with a file that is allocated already, or can be; false: no space.
    fn rotate(&mut self, number: u64, from: Room) -> io::Result<bool> {
        let found = match self.stock(SPARE)? {
            None if from <= Room::Reserve => self.stock(RESERVE)?.map(|file| (RESERVE, file)),
            spare => spare.map(|file| (SPARE, file)),
        };
        let Some((name, file)) = found else {
            return Ok(false);
        };
        let Head { end: start, epoch, digest: predecessor } = self.head;
        let header = SegmentHeader { shard: self.shard, number, start, epoch, predecessor };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        let path = segment::path(&self.dir, number);
        fs::rename(self.dir.join(name), &path)?;
        directory::sync(&self.dir)?;
        self.segments.push_back(Segment::new(path, file, &header, self.options.segment_bytes));
        Ok(true)
    }

    /// The allocated file of this name, made if it can be.
    fn stock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.dir.join(name);
        let there = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file.metadata()?.len() == self.options.segment_bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if there {
            return OpenOptions::new().read(true).write(true).open(&path).map(Some);
        }
        let stocked = [SPARE, RESERVE].iter().filter(|name| self.dir.join(name).exists()).count();
        let files = (self.segments.len() + stocked + 1) as u64;
        if files.saturating_mul(self.options.segment_bytes) > self.options.limit_bytes {
            return Ok(None);
        }
        preallocate(&path, self.options.segment_bytes)
    }

    fn has_headroom(&self) -> io::Result<bool> {
        let host = rustix::fs::statvfs(&self.dir)?;
        Ok(host.f_bavail.saturating_mul(host.f_frsize) >= self.options.headroom_bytes)
    }

    /// Writes a record at the end, durably; false: no space.
    fn write(&mut self, record: &[u8], batch: Option<u64>, from: Room) -> io::Result<bool> {
        if self.failed {
            return Err(io::Error::other("an earlier write to the log failed"));
        }
        // Until the record is known to be durable, nothing may come after it.
        self.failed = true;
        if self.tail().remaining() < record.len() as u64 {
            let number = self.tail().number + 1;
            if !self.rotate(number, from)? {
                self.failed = false;
                return Ok(false);
            }
        }
        self.tail().write(record)?;
        self.tail().extend(batch, record.len() as u64);
        self.failed = false;
        Ok(true)
    }

    fn segment_of(&self, after: Position) -> usize {
        self.segments.partition_point(|segment| segment.start.seq <= after.seq).saturating_sub(1)
    }
}

/// Removes what is left of a torn record, and writes the last whole one again: after a failed flush, the host may
/// show bytes that its device never took.
fn settle_tail(segment: &Segment, bytes: &[u8], last: Option<u64>, torn: u64) -> io::Result<()> {
    let torn = usize::try_from(torn).expect("the tail is in memory");
    if torn > 0 {
        tracing::warn!(segment = %segment.path.display(), offset = segment.end, bytes = torn, "cut off a torn record");
        segment.file.write_all_at(&vec![0; torn], segment.end)?;
    }
    let from = segment.end - last.unwrap_or(RECORDS_AT);
    let range = usize::try_from(from).expect("in memory")..usize::try_from(segment.end).expect("in memory");
    segment.file.write_all_at(&bytes[range], from)?;
    segment.file.sync_all()
}

fn lock(dir: &Path) -> Result<File, OpenLogError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|source| OpenLogError::Device { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenLogError::InUse { path: dir.to_path_buf() }),
        Err(fs::TryLockError::Error(source)) => Err(OpenLogError::Device { path, source }),
    }
}

impl Log for FileLog {
    fn shard(&self) -> MetadataShard {
        self.shard
    }

    fn end(&self) -> Position {
        self.head.end
    }

    fn start(&self) -> Position {
        self.segments.front().expect("a log has a segment").start
    }

    fn epoch(&self) -> Epoch {
        self.head.epoch
    }

    fn seal(&mut self, epoch: Epoch) -> Result<Position, SealError> {
        if epoch < self.head.epoch {
            return Err(Deposed { epoch, by: self.head.epoch }.into());
        }
        if epoch > self.head.epoch {
            let begin = Position { epoch, seq: self.head.end.seq };
            let (record, digest) = record::encode_begin(begin, self.shard, self.head.digest);
            if !self.write(&record, None, Room::Reserve).map_err(SealError::Device)? {
                return Err(SealError::NoSpace);
            }
            self.before_last = self.head.digest;
            self.head = Head { epoch, digest, ..self.head };
        }
        Ok(self.head.end)
    }

    fn room(&mut self, bytes: usize) -> io::Result<Room> {
        let fits = self.tail().remaining() >= bytes as u64 || self.stock(SPARE)?.is_some();
        let reserve = self.stock(RESERVE)?.is_some();
        Ok(match (fits, reserve) {
            (true, true) if self.has_headroom()? => Room::Ample,
            (false, false) => Room::None,
            _ => Room::Reserve,
        })
    }

    fn append(&mut self, batch: &Batch, from: Room) -> Result<Position, AppendError> {
        if batch.position == self.head.end && batch.position.epoch == self.head.epoch {
            let again = record::encode_batch(batch, self.shard, self.before_last);
            let same = again.is_some_and(|(_, digest)| digest == self.head.digest);
            return if same { Ok(batch.position) } else { Err(AppendError::Conflict(batch.position)) };
        }
        check_order(batch.position, self.head.epoch, self.head.end)?;
        let bytes = batch.encoded_len();
        let max = usize::try_from(self.options.segment_bytes - RECORDS_AT)
            .unwrap_or(usize::MAX)
            .min(BATCH_BYTES_MAX);
        let encoded = record::encode_batch(batch, self.shard, self.head.digest).filter(|_| bytes <= max);
        let (record, digest) = encoded.ok_or(AppendError::TooLarge { bytes, max })?;
        if !self.write(&record, Some(batch.position.seq), from).map_err(AppendError::Device)? {
            return Err(AppendError::NoSpace);
        }
        self.before_last = self.head.digest;
        self.head = Head { end: batch.position, digest, ..self.head };
        Ok(batch.position)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        let start = self.start();
        if after.seq < start.seq {
            return Err(ReadError::Trimmed { after, start });
        }
        let first = self.segment_of(after);
        let starts_there = self.segments[first].start == after;
        let mut walk = Walk { after, budget: bytes, met: starts_there, batches: Vec::new() };
        for segment in self.segments.range(first..) {
            if !walk.segment(segment, self.shard)? {
                break;
            }
        }
        if walk.met { Ok(walk.batches) } else { Err(ReadError::NoSuchPosition(after)) }
    }

    fn trim(&mut self, up_to: Position) -> Result<(), TrimError> {
        if up_to.seq > self.head.end.seq {
            return Err(TrimError::NoSuchPosition(up_to));
        }
        let mut removed = false;
        while self.segments.get(1).is_some_and(|next| next.start.seq <= up_to.seq) {
            let path = self.segments.front().expect("there are two").path.clone();
            fs::remove_file(path).map_err(TrimError::Device)?;
            self.segments.pop_front();
            removed = true;
        }
        if removed { directory::sync(&self.dir).map_err(TrimError::Device) } else { Ok(()) }
    }
}

/// Collecting the batches after a position.
struct Walk {
    after: Position,
    budget: usize,
    /// The position was met: it is one of this log's.
    met: bool,
    batches: Vec<Batch>,
}

impl Walk {
    /// Goes through a segment; false: enough.
    fn segment(&mut self, segment: &Segment, shard: MetadataShard) -> Result<bool, ReadError> {
        let mut at = segment.seek(self.after.seq);
        while at < segment.end {
            let damaged =
                |reason: String| ReadError::Damaged { path: segment.path.clone(), offset: at, reason };
            let mut bytes = vec![0; HEADER_BYTES];
            segment.file.read_exact_at(&mut bytes, at).map_err(ReadError::Device)?;
            let header = Header::parse(&bytes, shard).map_err(|error| damaged(error.to_string()))?;
            if header.record_len() > segment.end - at {
                return Err(damaged("a record is longer than its segment".to_owned()));
            }
            bytes.resize(usize::try_from(header.record_len()).expect("within the segment"), 0);
            segment.file.read_exact_at(&mut bytes, at).map_err(ReadError::Device)?;
            let (_, record, _) = record::decode(&bytes, shard).map_err(|error| damaged(error.to_string()))?;
            at += header.record_len();
            if let Record::Batch(batch) = record
                && !self.batch(batch, bytes.len())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a batch if it is after the position; false: enough.
    fn batch(&mut self, batch: Batch, bytes: usize) -> bool {
        if batch.position.seq <= self.after.seq {
            self.met |= batch.position == self.after;
            return true;
        }
        if !self.met || (bytes > self.budget && !self.batches.is_empty()) {
            return false;
        }
        self.budget = self.budget.saturating_sub(bytes);
        self.batches.push(batch);
        true
    }
}

#[cfg(test)]
mod tests;
