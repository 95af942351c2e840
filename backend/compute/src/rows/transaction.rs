//! An operation's view of the rows, and its writes.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use weft_engine::Row;
use weft_meta::{RowKey, Transaction};
use weft_wire::meta::MetaError;

use super::{ROW_OVERHEAD, Rows, Value};

/// What an operation wrote, and the last batch that it saw rows of.
pub(crate) struct Writes {
    pub(super) rows: BTreeMap<Vec<u8>, Option<Value>>,
    pub(super) depends: u64,
}

/// A transaction: the operation's own writes over all that was committed before it. Dropping it discards them.
pub struct Tx<'a> {
    rows: &'a Rows,
    writes: BTreeMap<Vec<u8>, Option<Value>>,
    depends: Cell<u64>,
}

impl<'a> Tx<'a> {
    pub(super) const fn new(rows: &'a Rows) -> Self {
        Self { rows, writes: BTreeMap::new(), depends: Cell::new(0) }
    }

    /// Begins again: no writes, but what was seen was seen.
    pub(crate) fn discard_writes(&mut self) {
        self.writes.clear();
    }

    /// Bytes of its writes in a record, at most.
    pub(crate) fn bytes(&self) -> usize {
        let row = |(key, value): (&Vec<u8>, &Option<Value>)| {
            key.len() + value.as_ref().map_or(0, |value| value.len()) + ROW_OVERHEAD
        };
        self.writes.iter().map(row).sum()
    }

    /// Whether a row was written whose key begins with one of these bytes.
    pub(crate) fn has_written(&self, kinds: std::ops::RangeInclusive<u8>) -> bool {
        self.writes.keys().any(|key| key.first().is_some_and(|kind| kinds.contains(kind)))
    }

    /// The last batch that it saw rows of.
    pub(crate) fn depends(&self) -> u64 {
        self.depends.get()
    }

    /// The writes, to be committed.
    pub(crate) fn finish(self) -> Writes {
        Writes { rows: self.writes, depends: self.depends.get() }
    }

    fn saw(&self, seq: u64) {
        self.depends.set(self.depends.get().max(seq));
    }

    /// The committed or written rows of a range that the index does not have as they are, in the order of their keys.
    fn newer<'t>(
        &'t self,
        from: &'t [u8],
        until: &'t [u8],
    ) -> impl Iterator<Item = (&'t [u8], Option<&'t Value>)> {
        let range = (Bound::Included(from), Bound::Excluded(until));
        let mut committed = self.rows.overlay.range::<[u8], _>(range).peekable();
        let mut written = self.writes.range::<[u8], _>(range).peekable();
        std::iter::from_fn(move || {
            let written_is_next = match (written.peek(), committed.peek()) {
                (None, None) => return None,
                (Some((written, _)), Some((committed, _))) => written <= committed,
                (written, _) => written.is_some(),
            };
            if written_is_next {
                let (key, value) = written.next()?;
                if let Some((_, pending)) = committed.next_if(|(committed, _)| *committed == key) {
                    self.saw(pending.seq);
                }
                return Some((key.as_slice(), value.as_ref()));
            }
            let (key, pending) = committed.next()?;
            self.saw(pending.seq);
            Some((key.as_slice(), pending.value.as_ref()))
        })
    }

    /// Rows of the index from a key on.
    fn stored(&self, from: &[u8], until: &[u8], limit: usize) -> Result<VecDeque<Row>, MetaError> {
        let rows = self.rows.index()?.scan(from, Some(until), limit).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "rows of metadata cannot be read");
            MetaError::Damaged
        })?;
        Ok(rows.into())
    }
}

impl Transaction for Tx<'_> {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        let encoded = key.encode();
        let value = if let Some(value) = self.writes.get(&encoded) {
            value.clone()
        } else if let Some(pending) = self.rows.overlay.get(&encoded) {
            self.saw(pending.seq);
            pending.value.clone()
        } else {
            self.rows.stored(key, &encoded)?
        };
        Ok(value.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: RowKey, value: Vec<u8>) {
        self.writes.insert(key.encode(), Some(value.into()));
    }

    fn delete(&mut self, key: RowKey) {
        self.writes.insert(key.encode(), None);
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        let mut newer = self.newer(from, until).peekable();
        let mut stored = self.stored(from, until, limit)?;
        // Where the index is read on, once what was read of it is used up: rows of it may be deleted or replaced.
        let mut more = (stored.len() == limit).then(|| after(stored.back()));
        let mut found = Vec::new();
        while found.len() < limit {
            if stored.is_empty()
                && let Some(from) = more.take()
            {
                stored = self.stored(&from, until, limit)?;
                more = (stored.len() == limit).then(|| after(stored.back()));
            }
            let newer_is_first = match (newer.peek(), stored.front()) {
                (None, None) => break,
                (Some((newer, _)), Some((stored, _))) => *newer <= stored.as_slice(),
                (newer, _) => newer.is_some(),
            };
            if newer_is_first {
                let (key, value) = newer.next().expect("it was there");
                stored.pop_front_if(|(stored, _)| stored == key);
                if let Some(value) = value {
                    found.push((decode(key)?, value.to_vec()));
                }
            } else {
                let (encoded, sealed) = stored.pop_front().expect("it was there");
                let key = decode(&encoded)?;
                found.push((key, self.rows.open(&key, &encoded, &sealed)?.to_vec()));
            }
        }
        Ok(found)
    }
}

/// The first key behind a row's.
fn after(row: Option<&Row>) -> Vec<u8> {
    row.map(|(key, _)| [key.as_slice(), &[0]].concat()).unwrap_or_default()
}

fn decode(encoded: &[u8]) -> Result<RowKey, MetaError> {
    RowKey::decode(encoded).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a row of metadata has no key");
        MetaError::Damaged
    })
}
