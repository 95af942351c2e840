//! Drives in memory, and what may be wrong with them.

use core::time::Duration;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use weft_types::{Digest, SessionId};
use weft_wire::drive::{GetRefusal, GetShard, PutRefusal, ShardHeader, ShardKey};

/// What is wrong with a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Its process is gone.
    Dead,
    /// It takes requests and never answers.
    Hanging,
    /// It answers reads after this time.
    Slow(Duration),
    /// It has no room.
    Full,
    /// It refuses to read, as damaged.
    Damaged,
    /// It answers wrong bytes without noticing.
    Lying,
    /// So many puts break off after they were done.
    BreaksOff(u32),
    /// It has lost everything.
    Blank,
    /// It has too much to do for so many reads.
    Busy(u32),
    /// It answers puts after this time.
    Late(Duration),
    /// It has room for so many shards.
    RoomFor(u32),
}

#[derive(Debug)]
pub(super) struct Drive {
    pub(super) fault: Fault,
    pub(super) shards: HashMap<ShardKey, (ShardHeader, Bytes)>,
    pub(super) puts: u64,
    pub(super) gets: u64,
    /// Sessions whose grant its process has seen, and how often one was shown.
    pub(super) granted: HashSet<SessionId>,
    pub(super) presented: u64,
    /// Sessions that are closed here for ever.
    pub(super) closed: HashSet<SessionId>,
}

impl Default for Drive {
    fn default() -> Self {
        Self {
            fault: Fault::None,
            shards: HashMap::new(),
            puts: 0,
            gets: 0,
            granted: HashSet::new(),
            presented: 0,
            closed: HashSet::new(),
        }
    }
}

impl Drive {
    /// Put-if-absent, by digest.
    pub(super) fn put(&mut self, header: ShardHeader, bytes: Bytes) -> Result<bool, PutRefusal> {
        self.puts += 1;
        let session = header.key.extent.session;
        if self.closed.contains(&session) {
            return Err(PutRefusal::SessionClosed);
        }
        if !self.granted.contains(&session) {
            return Err(PutRefusal::NotGranted);
        }
        if self.fault == Fault::Full {
            return Err(PutRefusal::NoSpace);
        }
        let digest = Digest(*blake3::hash(&bytes).as_bytes());
        if header.digests.get(header.key.index.get()) != Some(&digest) {
            return Err(PutRefusal::DigestMismatch);
        }
        if bytes.len() != header.geometry.shard_len(header.key.index) as usize {
            return Err(PutRefusal::Malformed);
        }
        match self.shards.get(&header.key) {
            Some((_, stored)) if *stored == bytes => Ok(true),
            Some(_) => Err(PutRefusal::Conflict),
            None => {
                if let Fault::RoomFor(left) = &mut self.fault {
                    *left = left.checked_sub(1).ok_or(PutRefusal::NoSpace)?;
                }
                self.shards.insert(header.key, (header, bytes));
                Ok(false)
            }
        }
    }

    pub(super) fn get(&mut self, call: &GetShard) -> Result<Bytes, GetRefusal> {
        self.gets += 1;
        if self.fault == Fault::Damaged {
            return Err(GetRefusal::Damaged);
        }
        let (_, bytes) =
            self.shards.get(&call.key).filter(|_| self.fault != Fault::Blank).ok_or(GetRefusal::Absent)?;
        let range = call.start as usize..(call.start + call.len) as usize;
        let mut bytes = bytes.get(range).ok_or(GetRefusal::OutOfRange)?.to_vec();
        if self.fault == Fault::Lying {
            bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 4);
        }
        Ok(bytes.into())
    }
}
