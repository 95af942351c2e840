//! Making custody again from a drive's items.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Custody;
use super::decision::Write;
use super::document::{self, ClosedPage, LogNote, Promise};
use super::item::{COPIES, Document, Named};
use super::log::Held;
use super::seam::{Items, ReadItemError};
use crate::key::ItemKey;
use crate::superblock::DriveIdentity;

/// Keys that are listed at once.
const PAGE: usize = 4096;

/// Custody as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// What is known.
    pub custody: Custody,
    /// Writes that make both copies of every document whole again and take away what does not count. Without them all
    /// is as well, until the next damage.
    pub repairs: Vec<Write>,
}

/// Why a drive cannot say what it promised. It must not serve: declare it blank, and it is a new drive.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Both copies of a document are damaged.
    #[error("the drive's memory of {what} is damaged; declare the drive blank, so that it is filled anew")]
    Damaged {
        /// What was forgotten.
        what: &'static str,
    },
    /// There is an item of a kind that this version does not know.
    #[error("the drive keeps something that this version does not know")]
    Unknown,
    /// The device failed.
    #[error("the device failed")]
    Device(#[source] std::io::Error),
}

/// The attempt and body of the newest of a document's intact copies.
pub(super) fn latest(copies: impl Iterator<Item = Bytes>) -> Option<(u64, Bytes)> {
    copies.filter_map(|value| document::split(&value)).max_by_key(|(attempt, _)| *attempt)
}

impl Custody {
    /// Reads every document of the drive, and the names of everything else.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(identity: DriveIdentity, items: &impl Items) -> Result<Loaded, LoadError> {
        let mut loading = Loading { custody: Self::new(identity), repairs: Vec::new() };
        let mut rest = Vec::new();
        let mut documents = BTreeMap::<Document, Vec<ItemKey>>::new();
        let mut after = None;
        loop {
            let page = items.list(&[], after.as_ref(), PAGE);
            for (key, len) in &page {
                match Named::parse(key.as_bytes()).ok_or(LoadError::Unknown)? {
                    Named::Document(document, _) => documents.entry(document).or_default().push(key.clone()),
                    named => rest.push((named, *len)),
                }
            }
            let Some((last, _)) = page.into_iter().next_back() else { break };
            after = Some(last);
        }
        for (document, keys) in documents {
            loading.document(items, document, &keys)?;
        }
        for (named, len) in rest {
            loading.other(named, len);
        }
        loading.finish()
    }
}

struct Loading {
    custody: Custody,
    repairs: Vec<Write>,
}

impl Loading {
    fn document(
        &mut self,
        items: &impl Items,
        document: Document,
        keys: &[ItemKey],
    ) -> Result<(), LoadError> {
        let mut copies = Vec::new();
        for key in keys {
            match items.read(key) {
                Ok(value) => copies.push(value),
                Err(ReadItemError::Absent | ReadItemError::Damaged) => {}
                Err(ReadItemError::Device(error)) => return Err(LoadError::Device(error)),
            }
        }
        let whole = copies.len() == COPIES.len() && copies.windows(2).all(|pair| pair[0] == pair[1]);
        let Some((attempt, body)) = latest(copies.into_iter()) else {
            return self.forgotten(document);
        };
        self.custody.attempt = self.custody.attempt.max(attempt);
        self.take(document, &body)?;
        if !whole {
            self.repairs.extend(document::keep(document, attempt, &body));
        }
        Ok(())
    }

    /// Without what it promised about the cluster store a drive takes no part in that, and serves all else.
    fn forgotten(&mut self, document: Document) -> Result<(), LoadError> {
        match document {
            Document::Store | Document::Promise => {
                self.custody.register.forget();
                Ok(())
            }
            Document::Log(_) | Document::Closed { .. } => Err(damaged(document)),
        }
    }

    fn take(&mut self, document: Document, body: &Bytes) -> Result<(), LoadError> {
        let unreadable = || damaged(document);
        match document {
            Document::Closed { page } => {
                let found = document::read::<ClosedPage>(body).ok_or_else(unreadable)?;
                self.custody.sessions.load(page, found).ok_or_else(unreadable)?;
            }
            Document::Log(log) => {
                let note = document::read::<LogNote>(body).ok_or_else(unreadable)?;
                self.custody.log_mut(log).note = Some(note);
            }
            Document::Promise => {
                let promise = document::read::<Promise>(body).ok_or_else(unreadable)?;
                self.custody.register.load_promise(promise);
            }
            Document::Store => {
                let (header, bytes) = document::split_copy(body).ok_or_else(unreadable)?;
                self.custody.register.load_copy(&header, &bytes);
            }
        }
        Ok(())
    }

    fn other(&mut self, named: Named, len: u32) {
        let held = |epoch, fingerprint| Held { epoch, fingerprint, len, damaged: false };
        let superseded = match named {
            Named::Record(log, position, fingerprint) => {
                let held = held(position.epoch, fingerprint);
                self.custody.log_mut(log).load_record(log, position, held)
            }
            Named::Object(key, fingerprint) => {
                self.custody.log_mut(key.log).load_object(key, held(key.epoch, fingerprint))
            }
            Named::Document(..) => None,
        };
        self.repairs.extend(superseded.map(|key| Write::Delete(vec![key])));
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        if let Some(log) = self.custody.logs.iter().find(|(_, log)| log.is_unsealed_and_used()) {
            return Err(damaged(Document::Log(*log.0)));
        }
        Ok(Loaded { custody: self.custody, repairs: self.repairs })
    }
}

fn damaged(document: Document) -> LoadError {
    let what = match document {
        Document::Closed { .. } => "closed sessions",
        Document::Log(_) => "who may write a metadata log",
        Document::Promise | Document::Store => "the cluster store",
    };
    LoadError::Damaged { what }
}
