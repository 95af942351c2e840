//! A drive's part in the register that holds the cluster store.

use bytes::Bytes;
use weft_types::{Digest, Epoch, StoreVersion};
use weft_wire::store::{PutStore, StoreRefusal};

use super::decision::{Change, Decision};
use super::document::{self, CopyHeader, Promise};
use super::item::Document;

/// The copy of the cluster store that a drive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) term: Epoch,
    pub(super) version: StoreVersion,
    pub(super) digest: Digest,
}

/// What a drive knows of the cluster store.
#[derive(Debug, Clone, Default)]
pub(super) struct Register {
    promise: Promise,
    copy: Option<Copy>,
    /// It cannot say what it promised or took: it does not take part any more.
    forgetful: bool,
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

impl Register {
    pub(super) fn load_promise(&mut self, found: Promise) {
        self.promise.promised = self.promise.promised.max(found.promised);
        self.promise.heard = self.promise.heard.max(found.heard);
    }

    pub(super) fn load_copy(&mut self, header: &CopyHeader, bytes: &[u8]) {
        self.load_promise(Promise { promised: header.term, heard: header.heard });
        let (term, version) = (header.term, header.version);
        self.copied(Copy { term, version, digest: digest(bytes) });
    }

    /// What it promised or took is damaged.
    pub(super) fn forget(&mut self) {
        self.forgetful = true;
    }

    pub(super) fn remembers(&self) -> bool {
        !self.forgetful
    }

    pub(super) fn promised(&self) -> Epoch {
        self.promise.promised
    }

    /// The highest version of copies and of what was heard.
    pub(super) fn seen(&self) -> StoreVersion {
        self.promise.heard
    }

    pub(super) fn open(&self, term: Option<Epoch>, attempt: &mut u64) -> Result<Decision, StoreRefusal> {
        // Who only looks counts its promises too: they tell that nobody else has the store.
        if self.forgetful {
            return Err(StoreRefusal::Damaged);
        }
        let Some(term) = term else { return Ok(Decision::none()) };
        if term <= self.promise.promised {
            return Err(StoreRefusal::Fenced { by: self.promise.promised });
        }
        let promise = Promise { promised: term, ..self.promise };
        Ok(keep_promise(promise, Change::Promised { term }, attempt))
    }

    pub(super) fn hear(&self, version: StoreVersion, attempt: &mut u64) -> Decision {
        if version <= self.promise.heard {
            return Decision::none();
        }
        let promise = Promise { heard: version, ..self.promise };
        keep_promise(promise, Change::Heard { version }, attempt)
    }

    pub(super) fn put(
        &self,
        put: PutStore,
        bytes: &Bytes,
        attempt: &mut u64,
    ) -> Result<Decision, StoreRefusal> {
        let PutStore { term, version } = put;
        if bytes.is_empty() {
            return Err(StoreRefusal::Malformed);
        }
        if self.forgetful {
            return Err(StoreRefusal::Damaged);
        }
        if term < self.promise.promised {
            return Err(StoreRefusal::Fenced { by: self.promise.promised });
        }
        let copy = Copy { term, version, digest: digest(bytes) };
        match self.copy {
            Some(held) if held == copy => return Ok(Decision::none()),
            Some(held) if held.version == version => return Err(StoreRefusal::Behind { version }),
            _ => {}
        }
        if version < self.seen() {
            return Err(StoreRefusal::Behind { version: self.seen() });
        }
        *attempt += 1;
        let heard = self.seen().max(version);
        let body = document::copy_body(&CopyHeader { term, version, heard }, bytes);
        let step = document::keep(Document::Store, *attempt, &body);
        Ok(Decision { steps: vec![step], change: Change::Copy(copy) })
    }

    pub(super) fn promise_term(&mut self, term: Epoch) {
        self.promise.promised = self.promise.promised.max(term);
    }

    pub(super) fn heard(&mut self, version: StoreVersion) {
        self.promise.heard = self.promise.heard.max(version);
    }

    pub(super) fn copied(&mut self, copy: Copy) {
        self.promise_term(copy.term);
        self.heard(copy.version);
        self.copy = Some(copy);
    }
}

fn keep_promise(promise: Promise, change: Change, attempt: &mut u64) -> Decision {
    *attempt += 1;
    let step = document::keep(Document::Promise, *attempt, &document::body(&promise));
    Decision { steps: vec![step], change }
}
