//! A drive's memory of permissions, and of everything that it keeps besides shards: logs, checkpoints, the cluster
//! store.
//!
//! The core is pure: a call is *decided* against what is seen, which gives writes of items; once they are durable the
//! decision is *applied*, which changes what is seen; then the call is answered. It knows no thread, no clock and no
//! device, so production runs it over a [`Drive`](crate::Drive) and a simulation over a store in memory. Whoever runs
//! it decides nothing of a [`Scope`] while another decision of that scope is on its way to the device; decisions of
//! other scopes go on, and share its flush.

mod decision;
mod document;
mod grant;
mod item;
mod load;
mod log;
mod operation;
mod register;
mod run;
mod seam;
mod sessions;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use weft_types::{NodeId, Role, SessionId, StoreVersion};
use weft_wire::drive::{PutRefusal, ShardHeader};
use weft_wire::grant::{Grant, GrantRefusal, SignedGrant};
use weft_wire::log::{GetObject, ListObjects, LogEntry, LogHeld, LogKey, ObjectKey, ReadLog};
use weft_wire::store::StoreHeld;

pub use decision::{Decision, Step, Write};
pub use grant::{ShownLog, ShownSession, shown_log, shown_session};
pub use load::{LoadError, Loaded};
pub use operation::{
    Caller, Closing, Copying, Deleting, Opening, Operation, Placing, Recording, Refusal, Reply, Sealing,
    Trimming, WriteFailed,
};
pub use run::run;
pub use seam::{Items, ReadItemError, WriteItems};

pub use crate::key::ItemKey;

use decision::Change;
use item::Named;
use log::Log;
use register::Register;
use sessions::Sessions;

use crate::superblock::DriveIdentity;

/// What is decided one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Sessions that are closed.
    Sessions,
    /// The cluster store.
    Store,
    /// A metadata shard's log and its checkpoints.
    Log(LogKey),
}

/// What a drive knows beside its shards: in memory, and made again from its items on every start.
///
/// Of records and objects it holds names, digests and lengths, some 60 bytes each; their bytes stay on the device.
#[derive(Debug, Clone)]
pub struct Custody {
    identity: DriveIdentity,
    sessions: Sessions,
    logs: BTreeMap<LogKey, Log>,
    register: Register,
    /// The number of the last attempt to write a document.
    attempt: u64,
}

impl Custody {
    /// Of a drive that has no items.
    pub fn new(identity: DriveIdentity) -> Self {
        Self {
            identity,
            sessions: Sessions::default(),
            logs: BTreeMap::new(),
            register: Register::default(),
            attempt: 0,
        }
    }

    /// Whose it is.
    pub fn identity(&self) -> DriveIdentity {
        self.identity
    }

    /// Changes what is seen, after every step of the decision has become durable.
    pub fn apply(&mut self, decision: Decision) {
        match decision.change {
            Change::None => {}
            Change::Closed { page, last, added } => self.sessions.closed(page, last, added),
            Change::Sealed { log, note } => self.log_mut(log).note = Some(note),
            Change::Record { log, seq, held } => self.log_mut(log).recorded(seq, held),
            Change::Trimmed { log, note, gone } => self.log_mut(log).trimmed(note, &gone),
            Change::Object { key, held } => self.log_mut(key.log).put_down(key, held),
            Change::ObjectsGone { keys } => {
                if let Some(key) = keys.first() {
                    self.log_mut(key.log).objects_gone(&keys);
                }
            }
            Change::Promised { term } => self.register.promise_term(term),
            Change::Copy(copy) => self.register.copied(copy),
            Change::Heard { version } => self.register.heard(version),
        }
    }

    /// Notes that a step of the decision failed: what it wrote may be on the device or not.
    pub fn abandon(&mut self, decision: Decision) {
        if let Change::Trimmed { log, note, .. } = &decision.change {
            // The mark may be there: what is put below it from now on would be gone after a restart.
            self.log_mut(*log).doubt_below(note.trimmed);
        }
        for write in decision.steps.into_iter().flatten() {
            let Write::Put(key, _) = write else { continue };
            let log = match Named::parse(key.as_bytes()) {
                Some(Named::Record(log, ..)) => log,
                Some(Named::Object(object, _)) => object.log,
                Some(Named::Document(..)) | None => continue,
            };
            self.log_mut(log).doubt(key);
        }
    }

    /// Takes a session's grant until the process ends.
    ///
    /// # Errors
    /// [`GrantRefusal::Closed`].
    pub fn show(&mut self, shown: ShownSession) -> Result<(), GrantRefusal> {
        self.sessions.show(shown)
    }

    /// Whether `caller` showed a grant of the same content before: its signature need not be verified again.
    pub fn remembers(&self, signed: &SignedGrant, caller: NodeId) -> bool {
        match signed.grant() {
            Ok(Grant::Session(grant)) => {
                grant.cluster == self.identity.cluster
                    && grant.node == caller
                    && self.sessions.remembers(&grant)
                    && !self.sessions.is_closed(grant.session)
            }
            _ => false,
        }
    }

    /// Whether a shard may be put, as its put begins. What was allowed is told by [`end_put`](Self::end_put) when it is
    /// durable or has failed, whatever happens between.
    ///
    /// # Errors
    /// [`PutRefusal::NotGranted`] and [`PutRefusal::SessionClosed`].
    pub fn begin_put(&mut self, role: Role, caller: NodeId, header: &ShardHeader) -> Result<(), PutRefusal> {
        self.sessions.begin_put(role, caller, header)
    }

    /// A put that was allowed is finished.
    pub fn end_put(&mut self, role: Role, session: SessionId) {
        self.sessions.end_put(role, session);
    }

    /// Whether puts of these sessions are under way: only when none is, closing them is answered.
    pub fn puts_under_way(&self, sessions: &[SessionId]) -> bool {
        self.sessions.puts_under_way(sessions)
    }

    /// Whether the session is closed here.
    pub fn is_closed(&self, session: SessionId) -> bool {
        self.sessions.is_closed(session)
    }

    /// Decides that a version of the cluster store was heard of, in [`Scope::Store`].
    pub fn hear_store(&mut self, version: StoreVersion) -> Decision {
        self.register.hear(version, &mut self.attempt)
    }

    /// What there is of a log.
    pub fn held(&self, log: LogKey) -> LogHeld {
        self.logs.get(&log).map(Log::held).unwrap_or(LogHeld { trimmed: 0, first: None, last: None })
    }

    /// What a read answers: where each record stands with the item that has it, and whether nothing comes after.
    pub fn read_log(&self, read: ReadLog) -> (Vec<(LogEntry, ItemKey)>, bool) {
        self.logs.get(&read.log).map_or_else(|| (Vec::new(), true), |log| log.read(read))
    }

    /// The item that has an object.
    pub fn object(&self, get: GetObject) -> Option<ItemKey> {
        self.logs.get(&get.key.log)?.object(get.key)
    }

    /// A page of the objects of a log.
    pub fn list_objects(&self, list: ListObjects) -> Vec<ObjectKey> {
        self.logs.get(&list.log).map(|log| log.objects_after(list.after)).unwrap_or_default()
    }

    /// Notes that reading an item found it damaged.
    pub fn mark_damaged(&mut self, key: &ItemKey) {
        let Some(named) = Named::parse(key.as_bytes()) else { return };
        let log = match named {
            Named::Record(log, ..) => log,
            Named::Object(object, _) => object.log,
            Named::Document(..) => return,
        };
        if let Some(log) = self.logs.get_mut(&log) {
            log.mark_damaged(named);
        }
    }

    /// Whether these are the bytes that were put under a record's or an object's key.
    pub fn is_whole(key: &ItemKey, bytes: &[u8]) -> bool {
        match Named::parse(key.as_bytes()) {
            Some(Named::Record(.., fingerprint) | Named::Object(_, fingerprint)) => {
                fingerprint == item::Fingerprint::of(bytes)
            }
            _ => false,
        }
    }

    /// The items that the copies of the cluster store are in.
    pub fn store_items() -> [ItemKey; 2] {
        item::COPIES.map(|copy| Named::Document(item::Document::Store, copy).key())
    }

    /// Whether the drive can say what it promised about the cluster store, and took of it: when that is damaged it takes
    /// no part in it.
    pub fn remembers_store(&self) -> bool {
        self.register.remembers()
    }

    /// What the drive knows of the cluster store, with the bytes of its copy, from the two
    /// [items](Self::store_items): absent where one is not there or damaged.
    pub fn store_held(&self, copies: [Option<Bytes>; 2]) -> (StoreHeld, Bytes) {
        let copy =
            load::latest(copies.into_iter().flatten()).and_then(|(_, body)| document::split_copy(&body));
        let held = StoreHeld {
            promised: self.register.promised(),
            copy: copy.as_ref().map(|(header, _)| (header.term, header.version)),
            seen: self.register.seen(),
            epochs: self.logs.iter().filter_map(|(key, log)| Some((*key, log.note?.epoch))).collect(),
            incarnation: self.identity.incarnation,
        };
        (held, copy.map_or_else(Bytes::new, |(_, bytes)| bytes))
    }

    fn log_mut(&mut self, log: LogKey) -> &mut Log {
        self.logs.entry(log).or_default()
    }

    /// A log to decide about; of one that there is nothing of, an empty one.
    fn log(&self, log: LogKey) -> Cow<'_, Log> {
        self.logs.get(&log).map_or_else(Cow::default, Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests;
