//! Custody at work: calls decided one after the other where they must be, and written together where they may be.

use core::future::Future;
use core::pin::pin;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use weft_pki::AuthorityVerifier;
use weft_transport::{CallContext, Failure};
use weft_types::{Role, SessionId, StoreVersion};
use weft_wire::Fault;
use weft_wire::drive::{PutRefusal, ShardHeader};
use weft_wire::grant::{CloseSessions, GrantRefusal, PresentGrant};
use weft_wire::log::{GetObject, GetObjectRefusal, LogEntry, LogRead, ReadLog, ReadLogRefusal};
use weft_wire::store::{OpenStore, StoreHeld, StoreRefusal};

use crate::custody::{
    Caller, Closing, Custody, Decision, ItemKey, Opening, Operation, ReadItemError, Refusal, Reply, Scope,
    Write, WriteFailed, shown_session,
};
use crate::drive::Drive;

mod items;

/// Records that are read at once for one answer.
const READS_AT_ONCE: usize = 32;

/// Scopes that may be remembered without anybody in them.
const SCOPES_IDLE: usize = 1024;

/// Why a write or a read did not happen.
#[derive(Debug)]
pub(crate) enum Undone {
    /// It was tried.
    Failed(WriteFailed),
    /// Too much waits: nothing was done.
    Overloaded,
    /// The drive closes.
    Closed,
}

/// Why an item was not given.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It was tried.
    Failed(ReadItemError),
    /// Too much waits.
    Overloaded,
    /// The drive closes.
    Closed,
}

/// A drive's items, for many at once.
pub(crate) trait AsyncItems: Send + Sync + 'static {
    /// Carries out a write. Durable on return; once begun it is finished, also when nobody waits for it.
    fn write(&self, write: Write) -> impl Future<Output = Result<(), Undone>> + Send;

    /// Reads an item, verified.
    fn read(&self, key: &ItemKey) -> impl Future<Output = Result<Bytes, Unread>> + Send;

    /// Whether only what makes room should be written.
    fn tight(&self) -> bool;
}

/// The custody of a drive that is served. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Keeper<I = Drive> {
    shared: Arc<Shared<I>>,
}

impl<I> Clone for Keeper<I> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<I> {
    items: I,
    custody: Mutex<Custody>,
    scopes: Mutex<BTreeMap<Scope, Weak<AsyncMutex<()>>>>,
    /// A put of a frontend ended.
    put_ended: Notify,
}

/// Held while nothing else of a scope may be decided.
type ScopeGuard = OwnedMutexGuard<()>;

type Outcome<T, R> = Result<(T, Bytes), Failure<R>>;

impl<I> Keeper<I> {
    pub(crate) fn new(custody: Custody, items: I) -> Self {
        let shared = Shared {
            items,
            custody: Mutex::new(custody),
            scopes: Mutex::default(),
            put_ended: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn items(&self) -> &I {
        &self.shared.items
    }

    /// Held for moments only, never over a pause.
    pub(crate) fn custody(&self) -> MutexGuard<'_, Custody> {
        self.shared.custody.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(&self, scope: Scope) -> ScopeGuard {
        self.scope(scope).lock_owned().await
    }

    fn scope(&self, scope: Scope) -> Arc<AsyncMutex<()>> {
        let mut scopes = self.shared.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = scopes.get(&scope).and_then(Weak::upgrade) {
            return known;
        }
        if scopes.len() >= SCOPES_IDLE {
            scopes.retain(|_, known| known.strong_count() > 0);
        }
        let made = Arc::new(AsyncMutex::new(()));
        scopes.insert(scope, Arc::downgrade(&made));
        made
    }

    /// Takes a session's grant; a signature is verified once.
    pub(crate) fn present(
        &self,
        context: CallContext,
        call: &PresentGrant,
        authority: &AuthorityVerifier,
    ) -> Result<(), GrantRefusal> {
        let node = context.peer.node;
        let identity = {
            let custody = self.custody();
            if custody.remembers(&call.grant, node) {
                return Ok(());
            }
            custody.identity()
        };
        let shown = shown_session(&call.grant, authority, identity, node)?;
        self.custody().show(shown)
    }

    /// Allows a put of a shard. Keep what is returned until the put is durable or has failed.
    pub(crate) fn begin_put(
        &self,
        context: CallContext,
        header: &ShardHeader,
    ) -> Result<PutUnderWay<I>, PutRefusal> {
        let (role, session) = (context.peer.role, header.key.extent.session);
        self.custody().begin_put(role, context.peer.node, header)?;
        Ok(PutUnderWay { keeper: self.clone(), role, session })
    }
}

impl<I: AsyncItems> Keeper<I> {
    /// Runs an operation to its end: to be called where the work goes on when the caller does not wait.
    pub(crate) async fn run<O: Operation>(
        &self,
        context: CallContext,
        call: O::Call,
        bulk: Bytes,
        authority: &AuthorityVerifier,
    ) -> Result<Reply<O>, Failure<Refusal<O>>> {
        self.run_inside::<O>(context, call, bulk, authority).await.map(|(reply, _)| reply)
    }

    /// As [`run`](Self::run); nothing else of the operation's scope is decided until the guard is dropped.
    async fn run_inside<O: Operation>(
        &self,
        context: CallContext,
        call: O::Call,
        bulk: Bytes,
        authority: &AuthorityVerifier,
    ) -> Result<(Reply<O>, ScopeGuard), Failure<Refusal<O>>> {
        let node = context.peer.node;
        let drive = self.custody().identity();
        let operation =
            O::prepare(call, bulk, &Caller { node, authority, drive }).map_err(Failure::Refused)?;
        let guard = self.enter(operation.scope()).await;
        if Instant::now() >= context.deadline {
            return Err(Fault::DeadlinePassed.into());
        }
        let decision = operation.decide(&mut self.custody(), node).map_err(Failure::Refused)?;
        self.carry_out(decision).await.map_err(|undone| match undone {
            Undone::Failed(failed) => Failure::Refused(O::refusal(&failed)),
            Undone::Overloaded => Fault::Overloaded.into(),
            Undone::Closed => Fault::Internal.into(),
        })?;
        let reply = operation.reply(&self.custody(), self.shared.items.tight());
        Ok((reply, guard))
    }

    /// Writes what was decided and applies it. Call it within the decision's scope.
    async fn carry_out(&self, decision: Decision) -> Result<(), Undone> {
        let steps = decision.steps().to_vec();
        let mut pending = Pending { keeper: self, decision: Some(decision) };
        for step in steps {
            let writes = step.into_iter().map(|write| self.shared.items.write(write));
            join_all(writes).await.into_iter().collect::<Result<(), Undone>>()?;
        }
        if let Some(decision) = pending.decision.take() {
            self.custody().apply(decision);
        }
        Ok(())
    }

    /// Closes sessions: on return no put of them is under way, and none will begin.
    pub(crate) async fn close(
        &self,
        context: CallContext,
        call: CloseSessions,
        authority: &AuthorityVerifier,
    ) -> Result<Reply<Closing>, Failure<Refusal<Closing>>> {
        let sessions = call.sessions.clone();
        let reply = self.run::<Closing>(context, call, Bytes::new(), authority).await?;
        loop {
            let mut ended = pin!(self.shared.put_ended.notified());
            ended.as_mut().enable();
            if !self.custody().puts_under_way(&sessions) {
                return Ok(reply);
            }
            ended.await;
        }
    }

    /// Reads records, one behind the other.
    pub(crate) async fn read_log(&self, read: ReadLog) -> Outcome<LogRead, ReadLogRefusal> {
        let (found, end) = self.custody().read_log(read);
        let (mut entries, mut bulk) = (Vec::with_capacity(found.len()), Vec::new());
        for some in found.chunks(READS_AT_ONCE) {
            let values = join_all(some.iter().map(|(_, key)| self.read_apart(key))).await;
            for ((entry, key), value) in some.iter().zip(values) {
                match self.checked(key, value) {
                    Ok(bytes) => {
                        entries.push(*entry);
                        bulk.push(bytes);
                    }
                    Err(Unread::Failed(ReadItemError::Damaged)) => {
                        entries.push(LogEntry { len: 0, ..*entry })
                    }
                    // Trimmed since.
                    Err(Unread::Failed(ReadItemError::Absent)) => {}
                    Err(Unread::Failed(ReadItemError::Device(_))) => {
                        return Err(Failure::Refused(ReadLogRefusal::Device));
                    }
                    Err(Unread::Overloaded) => return Err(Fault::Overloaded.into()),
                    Err(Unread::Closed) => return Err(Fault::Internal.into()),
                }
            }
        }
        Ok((LogRead { entries, end }, joined(bulk)))
    }

    /// Reads a part of a checkpoint.
    pub(crate) async fn get_object(&self, get: GetObject) -> Result<Bytes, Failure<GetObjectRefusal>> {
        let absent = Failure::Refused(GetObjectRefusal::Absent);
        let Some(key) = self.custody().object(get) else { return Err(absent) };
        let value = self.shared.items.read(&key).await;
        self.checked(&key, value).map_err(|unread| match unread {
            Unread::Failed(ReadItemError::Absent) => absent,
            Unread::Failed(ReadItemError::Damaged) => Failure::Refused(GetObjectRefusal::Damaged),
            Unread::Failed(ReadItemError::Device(_)) => Failure::Refused(GetObjectRefusal::Device),
            Unread::Overloaded => Fault::Overloaded.into(),
            Unread::Closed => Fault::Internal.into(),
        })
    }

    /// Reads an item and lets go of what its bytes took from the drive: who reads several must not hold the room of one
    /// while it waits for that of the next.
    async fn read_apart(&self, key: &ItemKey) -> Result<Bytes, Unread> {
        self.shared.items.read(key).await.map(|bytes| Bytes::copy_from_slice(&bytes))
    }

    /// An item's bytes, if they are those that were put.
    fn checked(&self, key: &ItemKey, value: Result<Bytes, Unread>) -> Result<Bytes, Unread> {
        let value = match value {
            Ok(bytes) if !Custody::is_whole(key, &bytes) => Err(Unread::Failed(ReadItemError::Damaged)),
            other => other,
        };
        if matches!(value, Err(Unread::Failed(ReadItemError::Damaged))) {
            self.custody().mark_damaged(key);
        }
        value
    }

    /// Promises a term, when one is asked for, and gives the copy of the cluster store.
    pub(crate) async fn open_store(
        &self,
        context: CallContext,
        call: OpenStore,
        authority: &AuthorityVerifier,
    ) -> Outcome<StoreHeld, StoreRefusal> {
        let (_, _inside) = self.run_inside::<Opening>(context, call, Bytes::new(), authority).await?;
        let mut copies = [None, None];
        for (copy, key) in copies.iter_mut().zip(Custody::store_items()) {
            match self.read_apart(&key).await {
                Ok(value) => *copy = Some(value),
                Err(Unread::Failed(ReadItemError::Absent | ReadItemError::Damaged)) => {}
                Err(Unread::Failed(ReadItemError::Device(_))) => {
                    return Err(Failure::Refused(StoreRefusal::Device));
                }
                Err(Unread::Overloaded) => return Err(Fault::Overloaded.into()),
                Err(Unread::Closed) => return Err(Fault::Internal.into()),
            }
        }
        Ok(self.custody().store_held(copies))
    }

    /// Remembers a version of the cluster store that management told of. Durable on return, unless the drive fails or
    /// is overloaded: then it is told again with the next heartbeat.
    pub(crate) async fn hear(&self, version: StoreVersion) {
        let _inside = self.enter(Scope::Store).await;
        let decision = self.custody().hear_store(version);
        if let Err(undone) = self.carry_out(decision).await {
            tracing::debug!(?undone, "a version of the cluster store is not remembered yet");
        }
    }
}

/// A decision on its way to the device. When it does not arrive, custody hears of that too.
struct Pending<'a, I> {
    keeper: &'a Keeper<I>,
    decision: Option<Decision>,
}

impl<I> Drop for Pending<'_, I> {
    fn drop(&mut self) {
        if let Some(decision) = self.decision.take() {
            self.keeper.custody().abandon(decision);
        }
    }
}

/// A put that was allowed. Dropped when it is durable or has failed.
#[derive(Debug)]
pub(crate) struct PutUnderWay<I> {
    keeper: Keeper<I>,
    role: Role,
    session: SessionId,
}

impl<I> Drop for PutUnderWay<I> {
    fn drop(&mut self) {
        self.keeper.custody().end_put(self.role, self.session);
        self.keeper.shared.put_ended.notify_waiters();
    }
}

fn joined(parts: Vec<Bytes>) -> Bytes {
    match parts.as_slice() {
        [] => Bytes::new(),
        [only] => only.clone(),
        _ => {
            let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            whole.freeze()
        }
    }
}

#[cfg(test)]
mod tests;
