//! The calls that write, each as what it decides and what it answers.

use bytes::Bytes;
use weft_pki::AuthorityVerifier;
use weft_types::NodeId;
use weft_wire::Call;
use weft_wire::grant::{CloseRefusal, CloseSessions, SessionsClosed};
use weft_wire::log::{
    DeleteObjects, LogHeld, LogRefusal, LogStored, LogTrimmed, PutLog, PutObject, SealLog, TrimLog,
};
use weft_wire::store::{OpenStore, PutStore, StoreRefusal, StoreTaken};

use super::decision::Decision;
use super::grant::{ShownLog, shown_log};
use super::log::{OBJECTS_MAX, Payload};
use super::{Custody, Scope};
use crate::superblock::DriveIdentity;

/// Why a write of a decision is not durable.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailed {
    /// There is no room.
    #[error("the drive is full")]
    NoSpace,
    /// The device failed.
    #[error("the device failed")]
    Device,
}

/// A call that writes. [`prepare`](Self::prepare) does what takes long and depends on nothing that is seen, such as
/// verifying a signature; [`decide`](Self::decide) and [`reply`](Self::reply) are short.
pub trait Operation: Sized + Send + Sync + 'static {
    /// The call.
    type Call: Call;

    /// Checks the call by itself.
    ///
    /// # Errors
    /// The call's refusals.
    fn prepare(call: Self::Call, bulk: Bytes, by: &Caller<'_>) -> Result<Self, Refusal<Self>>;

    /// What it waits for and keeps waiting.
    fn scope(&self) -> Scope;

    /// What is to be written.
    ///
    /// # Errors
    /// The call's refusals: nothing changed.
    fn decide(&self, custody: &mut Custody, caller: NodeId) -> Result<Decision, Refusal<Self>>;

    /// The answer, after the decision was applied. `tight` tells that the drive's room is short.
    fn reply(&self, custody: &Custody, tight: bool) -> Reply<Self>;

    /// The answer when a write failed.
    fn refusal(failed: &WriteFailed) -> Refusal<Self>;
}

/// What an operation answers.
pub type Reply<O> = <<O as Operation>::Call as Call>::Reply;
/// What an operation refuses with.
pub type Refusal<O> = <<O as Operation>::Call as Call>::Refusal;

/// Who calls, and what its grants are verified with.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The node of its certificate.
    pub node: NodeId,
    /// The cluster's authority.
    pub authority: &'a AuthorityVerifier,
    /// The drive that is called.
    pub drive: DriveIdentity,
}

/// [`CloseSessions`]: answered once no put of the sessions is [under way](Custody::puts_under_way) either.
#[derive(Debug)]
pub struct Closing(pub(crate) CloseSessions);

/// [`SealLog`].
#[derive(Debug)]
pub struct Sealing(ShownLog);

/// [`PutLog`].
#[derive(Debug)]
pub struct Recording(PutLog, Payload);

/// [`TrimLog`].
#[derive(Debug)]
pub struct Trimming(TrimLog);

/// [`PutObject`].
#[derive(Debug)]
pub struct Placing(PutObject, Payload);

/// [`DeleteObjects`].
#[derive(Debug)]
pub struct Deleting(DeleteObjects);

/// [`OpenStore`] with a term: its answer's copy is read by who runs it, see [`Custody::store_held`].
#[derive(Debug)]
pub struct Opening(OpenStore);

/// [`PutStore`].
#[derive(Debug)]
pub struct Copying(PutStore, Bytes);

impl Operation for Closing {
    type Call = CloseSessions;

    fn prepare(call: CloseSessions, _: Bytes, _: &Caller<'_>) -> Result<Self, CloseRefusal> {
        Ok(Self(call))
    }

    fn scope(&self) -> Scope {
        Scope::Sessions
    }

    fn decide(&self, custody: &mut Custody, _: NodeId) -> Result<Decision, CloseRefusal> {
        custody.sessions.close(&self.0.sessions, &mut custody.attempt)
    }

    fn reply(&self, _: &Custody, _: bool) -> SessionsClosed {
        SessionsClosed {}
    }

    fn refusal(failed: &WriteFailed) -> CloseRefusal {
        match failed {
            WriteFailed::NoSpace => CloseRefusal::NoSpace,
            WriteFailed::Device => CloseRefusal::Device,
        }
    }
}

fn log_refusal(failed: &WriteFailed) -> LogRefusal {
    match failed {
        WriteFailed::NoSpace => LogRefusal::NoSpace,
        WriteFailed::Device => LogRefusal::Device,
    }
}

impl Operation for Sealing {
    type Call = SealLog;

    fn prepare(call: SealLog, _: Bytes, by: &Caller<'_>) -> Result<Self, LogRefusal> {
        let shown = shown_log(&call.grant, by.authority, by.drive, by.node);
        shown.map(Self).map_err(LogRefusal::Grant)
    }

    fn scope(&self) -> Scope {
        Scope::Log(self.0.0.log())
    }

    fn decide(&self, custody: &mut Custody, _: NodeId) -> Result<Decision, LogRefusal> {
        let mut attempt = custody.attempt;
        let decision = custody.log(self.0.0.log()).seal(self.0, &mut attempt);
        custody.attempt = attempt;
        decision
    }

    fn reply(&self, custody: &Custody, _: bool) -> LogHeld {
        custody.held(self.0.0.log())
    }

    fn refusal(failed: &WriteFailed) -> LogRefusal {
        log_refusal(failed)
    }
}

impl Operation for Recording {
    type Call = PutLog;

    fn prepare(call: PutLog, bulk: Bytes, _: &Caller<'_>) -> Result<Self, LogRefusal> {
        Ok(Self(call, Payload::new(bulk).ok_or(LogRefusal::Malformed)?))
    }

    fn scope(&self) -> Scope {
        Scope::Log(self.0.log)
    }

    fn decide(&self, custody: &mut Custody, caller: NodeId) -> Result<Decision, LogRefusal> {
        custody.log(self.0.log).put(self.0, &self.1, caller)
    }

    fn reply(&self, _: &Custody, tight: bool) -> LogStored {
        LogStored { tight }
    }

    fn refusal(failed: &WriteFailed) -> LogRefusal {
        log_refusal(failed)
    }
}

impl Operation for Trimming {
    type Call = TrimLog;

    fn prepare(call: TrimLog, _: Bytes, _: &Caller<'_>) -> Result<Self, LogRefusal> {
        Ok(Self(call))
    }

    fn scope(&self) -> Scope {
        Scope::Log(self.0.log)
    }

    fn decide(&self, custody: &mut Custody, caller: NodeId) -> Result<Decision, LogRefusal> {
        let mut attempt = custody.attempt;
        let decision = custody.log(self.0.log).trim(self.0, caller, &mut attempt);
        custody.attempt = attempt;
        decision
    }

    fn reply(&self, _: &Custody, _: bool) -> LogTrimmed {
        LogTrimmed {}
    }

    fn refusal(failed: &WriteFailed) -> LogRefusal {
        log_refusal(failed)
    }
}

impl Operation for Placing {
    type Call = PutObject;

    fn prepare(call: PutObject, bulk: Bytes, _: &Caller<'_>) -> Result<Self, LogRefusal> {
        Ok(Self(call, Payload::new(bulk).ok_or(LogRefusal::Malformed)?))
    }

    fn scope(&self) -> Scope {
        Scope::Log(self.0.key.log)
    }

    fn decide(&self, custody: &mut Custody, caller: NodeId) -> Result<Decision, LogRefusal> {
        custody.log(self.0.key.log).put_object(self.0.key, &self.1, caller)
    }

    fn reply(&self, _: &Custody, tight: bool) -> LogStored {
        LogStored { tight }
    }

    fn refusal(failed: &WriteFailed) -> LogRefusal {
        log_refusal(failed)
    }
}

impl Operation for Deleting {
    type Call = DeleteObjects;

    fn prepare(call: DeleteObjects, _: Bytes, _: &Caller<'_>) -> Result<Self, LogRefusal> {
        let Some(first) = call.keys.first() else { return Err(LogRefusal::Malformed) };
        let of_one_log = call.keys.iter().all(|key| key.log == first.log);
        if of_one_log && call.keys.len() <= OBJECTS_MAX { Ok(Self(call)) } else { Err(LogRefusal::Malformed) }
    }

    fn scope(&self) -> Scope {
        Scope::Log(self.0.keys[0].log)
    }

    fn decide(&self, custody: &mut Custody, caller: NodeId) -> Result<Decision, LogRefusal> {
        custody.log(self.0.keys[0].log).delete_objects(self.0.epoch, &self.0.keys, caller)
    }

    fn reply(&self, _: &Custody, _: bool) -> LogTrimmed {
        LogTrimmed {}
    }

    fn refusal(failed: &WriteFailed) -> LogRefusal {
        log_refusal(failed)
    }
}

fn store_refusal(failed: &WriteFailed) -> StoreRefusal {
    match failed {
        WriteFailed::NoSpace => StoreRefusal::NoSpace,
        WriteFailed::Device => StoreRefusal::Device,
    }
}

impl Operation for Opening {
    type Call = OpenStore;

    fn prepare(call: OpenStore, _: Bytes, _: &Caller<'_>) -> Result<Self, StoreRefusal> {
        Ok(Self(call))
    }

    fn scope(&self) -> Scope {
        Scope::Store
    }

    fn decide(&self, custody: &mut Custody, _: NodeId) -> Result<Decision, StoreRefusal> {
        custody.register.open(self.0.term, &mut custody.attempt)
    }

    fn reply(&self, custody: &Custody, _: bool) -> Reply<Self> {
        custody.store_held([None, None]).0
    }

    fn refusal(failed: &WriteFailed) -> StoreRefusal {
        store_refusal(failed)
    }
}

impl Copying {
    /// Of whoever holds the device itself.
    pub(crate) fn new(call: PutStore, bytes: Bytes) -> Self {
        Self(call, bytes)
    }
}

impl Operation for Copying {
    type Call = PutStore;

    fn prepare(call: PutStore, bulk: Bytes, _: &Caller<'_>) -> Result<Self, StoreRefusal> {
        Ok(Self(call, bulk))
    }

    fn scope(&self) -> Scope {
        Scope::Store
    }

    fn decide(&self, custody: &mut Custody, _: NodeId) -> Result<Decision, StoreRefusal> {
        custody.register.put(self.0, &self.1, &mut custody.attempt)
    }

    fn reply(&self, custody: &Custody, _: bool) -> StoreTaken {
        StoreTaken { incarnation: custody.identity.incarnation }
    }

    fn refusal(failed: &WriteFailed) -> StoreRefusal {
        store_refusal(failed)
    }
}
