//! A drive's calls over the network.

use std::io::ErrorKind;

use bytes::Bytes;
use futures_util::future::join_all;
use weft_pki::AuthorityVerifier;
use weft_transport::{CallContext, Failure, Router};
use weft_types::Role;
use weft_wire::Fault;
use weft_wire::drive::{
    DELETE_MAX, DeleteRefusal, DeleteShards, DescribeShard, GetRefusal, GetShard, ListShards, PUT_MAX,
    PutRefusal, PutShard, PutShards, ShardHeader, ShardRead, ShardStored, ShardsDeleted, ShardsListed,
    ShardsStored,
};
use weft_wire::grant::{CloseSessions, GrantTaken, PresentGrant};
use weft_wire::log::{GetObject, ListObjects, ObjectRead, ObjectsListed, ReadLog};
use weft_wire::store::OpenStore;

use crate::custody::{Copying, Deleting, Operation, Placing, Recording, Refusal, Reply, Sealing, Trimming};
use crate::drive::{Drive, DriveError};
use crate::keeper::Keeper;
use crate::reader::ReadError;
use crate::store::{DeleteError, DeviceFailed, PutError, Stored};

/// Frontends write and read under grants. Compute reads, spreads anew, deletes what nothing refers to, and keeps logs.
/// Management keeps copies of the cluster store, and an administrator reads them to recover.
const FRONTENDS: &[Role] = &[Role::Frontend];
const READERS: &[Role] = &[Role::Frontend, Role::Compute];
const OWNERS: &[Role] = &[Role::Compute];
const MANAGERS: &[Role] = &[Role::Management, Role::Admin];

/// The most keys on one page: far less than a body may have.
const LIST_MAX: u32 = 4096;

/// Answers the calls to a drive by the caller's role. `authority` signs the grants.
pub(crate) fn router(keeper: &Keeper, authority: &AuthorityVerifier) -> Router {
    stores(
        logs(sessions(shards(Router::new(), keeper), keeper, authority), keeper, authority),
        keeper,
        authority,
    )
}

fn shards(router: Router, keeper: &Keeper) -> Router {
    let handle = || keeper.items().clone();
    let (getter, deleter, describer, lister) = (handle(), handle(), handle(), handle());
    let (putter, many_putter) = (keeper.clone(), keeper.clone());
    router
        .on::<PutShards, _, _>(FRONTENDS, move |context, call, bulk| {
            put_many(many_putter.clone(), context, call, bulk)
        })
        .on::<PutShard, _, _>(READERS, move |context, call, bulk| put(putter.clone(), context, call, bulk))
        .on_cancellable::<GetShard, _, _>(READERS, move |_, call, _| get(getter.clone(), call))
        .on::<DeleteShards, _, _>(OWNERS, move |_, call, _| delete(deleter.clone(), call))
        .on_cancellable::<DescribeShard, _, _>(OWNERS, move |_, call, _| describe(describer.clone(), call))
        .on_cancellable::<ListShards, _, _>(OWNERS, move |_, call, _| {
            let listed = list(&lister, call);
            async move { Ok((listed, Bytes::new())) }
        })
}

fn sessions(router: Router, keeper: &Keeper, authority: &AuthorityVerifier) -> Router {
    let handle = || (keeper.clone(), authority.clone());
    let (shown, closed) = (handle(), handle());
    router
        .on::<PresentGrant, _, _>(FRONTENDS, move |context, call, _| {
            let (keeper, authority) = &shown;
            let taken = keeper.present(context, &call, authority);
            async move { taken.map(|()| (GrantTaken {}, Bytes::new())).map_err(Failure::Refused) }
        })
        .on::<CloseSessions, _, _>(OWNERS, move |context, call, _| {
            let (keeper, authority) = closed.clone();
            async move { Ok((keeper.close(context, call, &authority).await?, Bytes::new())) }
        })
}

fn logs(router: Router, keeper: &Keeper, authority: &AuthorityVerifier) -> Router {
    let router = writing::<Sealing>(router, OWNERS, keeper, authority);
    let router = writing::<Recording>(router, OWNERS, keeper, authority);
    let router = writing::<Trimming>(router, OWNERS, keeper, authority);
    let router = writing::<Placing>(router, OWNERS, keeper, authority);
    let router = writing::<Deleting>(router, OWNERS, keeper, authority);
    let (reader, getter, lister) = (keeper.clone(), keeper.clone(), keeper.clone());
    router
        .on_cancellable::<ReadLog, _, _>(OWNERS, move |_, call, _| {
            let keeper = reader.clone();
            async move { keeper.read_log(call).await }
        })
        .on_cancellable::<GetObject, _, _>(OWNERS, move |_, call, _| {
            let keeper = getter.clone();
            async move { keeper.get_object(call).await.map(|bytes| (ObjectRead {}, bytes)) }
        })
        .on_cancellable::<ListObjects, _, _>(OWNERS, move |_, call, _| {
            let keys = lister.custody().list_objects(call);
            async move { Ok((ObjectsListed { keys }, Bytes::new())) }
        })
}

fn stores(router: Router, keeper: &Keeper, authority: &AuthorityVerifier) -> Router {
    let (keeper_of_open, verifier) = (keeper.clone(), authority.clone());
    let router = router.on::<OpenStore, _, _>(MANAGERS, move |context, call, _| {
        let (keeper, authority) = (keeper_of_open.clone(), verifier.clone());
        async move { keeper.open_store(context, call, &authority).await }
    });
    writing::<Copying>(router, MANAGERS, keeper, authority)
}

/// Answers an operation whose answer has no bulk.
fn writing<O>(router: Router, roles: &[Role], keeper: &Keeper, authority: &AuthorityVerifier) -> Router
where
    O: Operation,
    Reply<O>: Send,
    Refusal<O>: Send,
{
    let (keeper, authority) = (keeper.clone(), authority.clone());
    router.on::<O::Call, _, _>(roles, move |context, call, bulk| {
        let (keeper, authority) = (keeper.clone(), authority.clone());
        async move { Ok((keeper.run::<O>(context, call, bulk, &authority).await?, Bytes::new())) }
    })
}

type Outcome<T, R> = Result<(T, Bytes), Failure<R>>;

async fn put(
    keeper: Keeper,
    context: CallContext,
    call: PutShard,
    bulk: Bytes,
) -> Outcome<ShardStored, PutRefusal> {
    let under_way = keeper.begin_put(context, &call.header).map_err(Failure::Refused)?;
    let stored = keeper.items().put(call.header, bulk).await;
    drop(under_way);
    let stored = stored.map_err(|error| failure(error, &put_refusal))?;
    Ok((ShardStored { already: stored == Stored::AlreadyThere }, Bytes::new()))
}

/// All of them go to the writer at once: they share its flush.
async fn put_many(
    keeper: Keeper,
    context: CallContext,
    call: PutShards,
    bulk: Bytes,
) -> Outcome<ShardsStored, PutRefusal> {
    let parts = parts(&call.headers, &bulk).ok_or(Failure::Refused(PutRefusal::Malformed))?;
    let puts = call.headers.into_iter().zip(parts);
    let puts = puts.map(|(header, part)| put(keeper.clone(), context, PutShard { header }, part));
    for stored in join_all(puts).await {
        stored?;
    }
    Ok((ShardsStored {}, Bytes::new()))
}

/// The bytes of each shard; `None` when the bulk is not exactly what the headers say.
fn parts(headers: &[ShardHeader], bulk: &Bytes) -> Option<Vec<Bytes>> {
    if headers.is_empty() || headers.len() > PUT_MAX {
        return None;
    }
    let mut parts = Vec::with_capacity(headers.len());
    let mut start = 0_usize;
    for header in headers {
        let end = start.checked_add(header.geometry.shard_len(header.key.index) as usize)?;
        if end > bulk.len() {
            return None;
        }
        parts.push(bulk.slice(start..end));
        start = end;
    }
    (start == bulk.len()).then_some(parts)
}

async fn get(drive: Drive, GetShard { key, start, len }: GetShard) -> Outcome<ShardRead, GetRefusal> {
    let end = start.checked_add(len).ok_or(Failure::Refused(GetRefusal::OutOfRange))?;
    let bytes = drive.read(key, start..end).await.map_err(|error| failure(error, &get_refusal))?;
    Ok((ShardRead {}, bytes))
}

async fn delete(drive: Drive, call: DeleteShards) -> Outcome<ShardsDeleted, DeleteRefusal> {
    if call.keys.len() > DELETE_MAX {
        return Err(Failure::Refused(DeleteRefusal::TooMany));
    }
    let deleted = drive.delete(call.keys).await.map_err(|error| failure(error, &delete_refusal))?;
    Ok((ShardsDeleted { deleted }, Bytes::new()))
}

async fn describe(drive: Drive, call: DescribeShard) -> Outcome<ShardHeader, GetRefusal> {
    let header = drive.describe(call.key).await.map_err(|error| failure(error, &get_refusal))?;
    Ok((header, Bytes::new()))
}

fn list(drive: &Drive, call: ListShards) -> ShardsListed {
    // An empty page would mean the end.
    let limit = call.limit.clamp(1, LIST_MAX);
    ShardsListed { keys: drive.list(call.after, limit as usize) }
}

fn failure<E, R>(error: DriveError<E>, refusal: &dyn Fn(E) -> R) -> Failure<R>
where
    E: std::error::Error + 'static,
{
    match error {
        DriveError::Overloaded => Fault::Overloaded.into(),
        DriveError::Closed => Fault::Internal.into(),
        DriveError::Failed(error) => Failure::Refused(refusal(error)),
    }
}

/// A sparse file on a full host is a full drive.
fn is_full(failed: &DeviceFailed) -> bool {
    matches!(failed, DeviceFailed::Now(error) if error.kind() == ErrorKind::StorageFull)
}

pub(crate) fn put_refusal(error: PutError) -> PutRefusal {
    match error {
        PutError::Conflict { .. } => PutRefusal::Conflict,
        PutError::NoSpace => PutRefusal::NoSpace,
        PutError::DigestMismatch => PutRefusal::DigestMismatch,
        PutError::Malformed => PutRefusal::Malformed,
        PutError::Device(failed) if is_full(&failed) => PutRefusal::NoSpace,
        PutError::Device(_) => PutRefusal::Device,
    }
}

fn get_refusal(error: ReadError) -> GetRefusal {
    match error {
        ReadError::Absent => GetRefusal::Absent,
        ReadError::Corrupt { .. } => GetRefusal::Damaged,
        ReadError::OutOfRange { .. } => GetRefusal::OutOfRange,
        ReadError::Io(_) => GetRefusal::Device,
    }
}

pub(crate) fn delete_refusal(error: DeleteError) -> DeleteRefusal {
    match error {
        DeleteError::NoSpace => DeleteRefusal::NoSpace,
        DeleteError::Device(failed) if is_full(&failed) => DeleteRefusal::NoSpace,
        DeleteError::Device(_) => DeleteRefusal::Device,
    }
}

#[cfg(test)]
mod tests;
