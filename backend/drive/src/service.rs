//! A drive's calls over the network.

use std::io::ErrorKind;

use bytes::Bytes;
use weft_transport::{CallContext, Failure, Router};
use weft_types::Role;
use weft_wire::Fault;
use weft_wire::drive::{
    DELETE_MAX, DeleteRefusal, DeleteShards, DescribeShard, GetRefusal, GetShard, ListShards, PutRefusal,
    PutShard, ShardHeader, ShardRead, ShardStored, ShardsDeleted, ShardsListed,
};

use crate::drive::{Drive, DriveError};
use crate::reader::ReadError;
use crate::store::{DeleteError, DeviceFailed, PutError, Stored};

/// Frontends write and read; compute reads, and deletes what nothing refers to.
const WRITERS: &[Role] = &[Role::Frontend];
const READERS: &[Role] = &[Role::Frontend, Role::Compute];
const KEEPERS: &[Role] = &[Role::Compute];

/// The most keys on one page: far less than a body may have.
const LIST_MAX: u32 = 4096;

/// Answers the calls of `weft_wire::drive` by the caller's role.
pub fn router(drive: &Drive) -> Router {
    let handle = || drive.clone();
    let (putter, getter, deleter, describer, lister) = (handle(), handle(), handle(), handle(), handle());
    Router::new()
        .on::<PutShard, _, _>(WRITERS, move |_: CallContext, call, bulk| put(putter.clone(), call, bulk))
        .on_cancellable::<GetShard, _, _>(READERS, move |_, call, _| get(getter.clone(), call))
        .on::<DeleteShards, _, _>(KEEPERS, move |_, call, _| delete(deleter.clone(), call))
        .on_cancellable::<DescribeShard, _, _>(KEEPERS, move |_, call, _| describe(describer.clone(), call))
        .on_cancellable::<ListShards, _, _>(KEEPERS, move |_, call, _| {
            let listed = list(&lister, call);
            async move { Ok((listed, Bytes::new())) }
        })
}

type Outcome<T, R> = Result<(T, Bytes), Failure<R>>;

async fn put(drive: Drive, call: PutShard, bulk: Bytes) -> Outcome<ShardStored, PutRefusal> {
    let stored = drive.put(call.header, bulk).await.map_err(|error| failure(error, &put_refusal))?;
    Ok((ShardStored { already: stored == Stored::AlreadyThere }, Bytes::new()))
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

fn put_refusal(error: PutError) -> PutRefusal {
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

fn delete_refusal(error: DeleteError) -> DeleteRefusal {
    match error {
        DeleteError::NoSpace => DeleteRefusal::NoSpace,
        DeleteError::Device(failed) if is_full(&failed) => DeleteRefusal::NoSpace,
        DeleteError::Device(_) => DeleteRefusal::Device,
    }
}

#[cfg(test)]
mod tests;
