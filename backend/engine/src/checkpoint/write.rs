//! Cutting a snapshot of an index into parts.

use std::collections::VecDeque;

use bytes::Bytes;
use weft_types::{Digest, Epoch};
use weft_wire::log::{LogKey, ObjectKey, PutObject};
use weft_wire::ownership::{CheckpointRoot, DriveHome};

use super::part::Body;
use crate::index::{Row, Salt};
use crate::{IndexError, Snapshot};

/// A part is closed once it has so many bytes.
const PART_BYTES: usize = 2 << 20;
/// Bytes of rows that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Which checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub(crate) log: LogKey,
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
}

/// The parts of a checkpoint, one after the other. Holds about a part in memory.
pub(crate) struct Parts<'a> {
    snapshot: &'a Snapshot,
    name: Name,
    salts: VecDeque<Salt>,
    rows: VecDeque<Row>,
    /// The last key that was read; all are, once `done`.
    after: Option<Vec<u8>>,
    done: bool,
    parts: u32,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, name: Name) -> Result<Self, IndexError> {
        Ok(Self {
            snapshot,
            name,
            salts: snapshot.salts()?.into(),
            rows: VecDeque::new(),
            after: None,
            done: false,
            parts: 0,
            bytes: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// The next part; there is at least one.
    pub(crate) fn next(&mut self) -> Result<Option<(PutObject, Bytes)>, IndexError> {
        let mut body = Body::default();
        while self.salts.front().is_some_and(|salt| body.add_salt(salt)) {
            self.salts.pop_front();
        }
        while self.salts.is_empty() && body.len() < PART_BYTES {
            self.read_more()?;
            if !self.rows.front().is_some_and(|row| body.add_row(row)) {
                break;
            }
            self.rows.pop_front();
        }
        if body.is_empty() && self.parts > 0 {
            return Ok(None);
        }
        let Name { log, epoch, number } = self.name;
        let key = ObjectKey { log, epoch, number, part: self.parts };
        let part = body.finish(key, self.snapshot.position());
        self.hasher.update(&part);
        self.bytes += part.len() as u64;
        self.parts += 1;
        Ok(Some((PutObject { key }, part.into())))
    }

    fn read_more(&mut self) -> Result<(), IndexError> {
        if self.rows.is_empty() && !self.done {
            let rows = self.snapshot.rows(self.after.as_deref(), READ_BYTES)?;
            self.done = rows.is_empty();
            self.after = rows.last().map(|(key, _)| key.clone()).or(self.after.take());
            self.rows = rows.into();
        }
        Ok(())
    }

    /// The root, once all parts are on these drives.
    pub(crate) fn root(&self, drives: &[DriveHome]) -> CheckpointRoot {
        CheckpointRoot {
            position: self.snapshot.position(),
            epoch: self.name.epoch,
            number: self.name.number,
            parts: self.parts,
            bytes: self.bytes,
            digest: Digest(*self.hasher.finalize().as_bytes()),
            drives: drives.to_vec(),
        }
    }
}
