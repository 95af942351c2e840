//! The calls that compute answers, and for whom.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use weft_transport::{CallContext, CallError, Failure, Router};
use weft_types::Role;
use weft_wire::Fault;
use weft_wire::coherence::{ATTACH_MAX, AckRecalls, Acked, Attach, Place, Recalls, WatchRecalls};
use weft_wire::compute::{
    CloseSession, DropFilesystem, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed,
    SessionGone, SessionOpened, SessionRenewed,
};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{EndSession, RegisterSession, SwapRefusal};

use crate::filesystems::Filesystems;
use crate::owner::{Owner, SessionOpening, must_wait, needs_newer_map};

const FRONTENDS: &[Role] = &[Role::Frontend];
const MANAGEMENT: &[Role] = &[Role::Management];

type Answer<T, R> = Result<(T, Bytes), Failure<R>>;

/// The calls of compute.
pub(crate) fn router(filesystems: &Arc<Filesystems>) -> Router {
    let shared = || Arc::clone(filesystems);
    let (opening, renewing, closing, meta, dropping) = (shared(), shared(), shared(), shared(), shared());
    let (locking, reclaiming) = (shared(), shared());
    let (attaching, watching, acknowledging) = (shared(), shared(), shared());
    Router::new()
        .on(FRONTENDS, move |context, call, _| plain(open_session(Arc::clone(&opening), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(renew_session(Arc::clone(&renewing), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(close_session(Arc::clone(&closing), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(execute(Arc::clone(&meta), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(lock(Arc::clone(&locking), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(reclaim(Arc::clone(&reclaiming), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(attach(Arc::clone(&attaching), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(watch_recalls(Arc::clone(&watching), context, call)))
        .on(FRONTENDS, move |context, call, _| plain(acknowledge(Arc::clone(&acknowledging), context, call)))
        .on(MANAGEMENT, move |_, call: DropFilesystem, _| {
            let filesystems = Arc::clone(&dropping);
            plain(async move { filesystems.drop_filesystem(call.filesystem).await })
        })
}

/// An answer without bulk.
async fn plain<T, R>(answer: impl Future<Output = Result<T, Failure<R>>>) -> Answer<T, R> {
    answer.await.map(|reply| (reply, Bytes::new()))
}

async fn open_session(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: OpenSession,
) -> Result<SessionOpened, Failure<OpenRefusal>> {
    let owner = filesystems.by_name(&call.filesystem).await.map_err(Failure::Refused)?;
    let node = context.peer.node;
    if let Err(refusal) = owner.may_open(node, &call, Instant::now())? {
        owner.settled().await?;
        return Err(Failure::Refused(refusal));
    }
    let register = RegisterSession { owner: owner.held(), node };
    let registered =
        filesystems.cluster.ask(&register).await.map_err(|error| not_registered(&owner, &error))?;
    let session = registered.session;
    let opening = owner.open_session(node, &call, session, Instant::now());
    let Ok(SessionOpening::Opened { durable_with, place, others }) = opening else {
        // Nobody heard of it.
        let end = EndSession { owner: owner.held(), session };
        if let Err(error) = filesystems.cluster.ask(&end).await {
            tracing::debug!(%session, error = &error as &dyn std::error::Error, "a session is left over");
        }
        let SessionOpening::Refused(refusal) = opening? else { return Err(Fault::Internal.into()) };
        owner.settled().await?;
        return Err(Failure::Refused(refusal));
    };
    owner.answerable(durable_with).await?;
    tracing::info!(%session, filesystem = %owner.filesystem(), host = call.holder.host, "a session is open");
    Ok(SessionOpened {
        session,
        filesystem: owner.filesystem(),
        lease_ms: lease_ms(&filesystems),
        slots: filesystems.settings.slots,
        grant: registered.grant,
        place,
        others,
    })
}

fn not_registered(owner: &Owner, error: &CallError<SwapRefusal>) -> Failure<OpenRefusal> {
    if let CallError::Refused(SwapRefusal::Deposed { .. }) = error {
        owner.lease().depose();
    }
    tracing::warn!(error = error as &dyn std::error::Error, "a session cannot be registered");
    Failure::Fault(Fault::NotServing)
}

async fn renew_session(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: RenewSession,
) -> Result<SessionRenewed, Failure<SessionGone>> {
    let ended = Failure::Refused(SessionGone::Ended);
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(ended.clone())?;
    let renewed = owner.renew_session(context.peer.node, call.session, Instant::now())?;
    if !renewed {
        // Its end may not be durable yet.
        owner.settled().await?;
        return Err(ended);
    }
    let (epoch, reclaim) = (owner.held().epoch, owner.awaits(call.session));
    Ok(SessionRenewed { lease_ms: lease_ms(&filesystems), epoch, reclaim })
}

async fn attach(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: Attach,
) -> Result<Place, Failure<SessionGone>> {
    if call.holds.len() > ATTACH_MAX {
        return Err(Fault::Malformed.into());
    }
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(Failure::Refused(SessionGone::Ended))?;
    let place = owner.attach(context.peer.node, &call, Instant::now())?;
    if place.is_err() {
        owner.settled().await?;
    }
    place.map_err(Failure::Refused)
}

async fn watch_recalls(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: WatchRecalls,
) -> Result<Recalls, Failure<SessionGone>> {
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(Failure::Refused(SessionGone::Ended))?;
    let recalls = owner.recalls(context.peer.node, &call, Instant::now()).await?;
    if recalls.is_err() {
        owner.settled().await?;
    }
    recalls.map_err(Failure::Refused)
}

async fn acknowledge(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: AckRecalls,
) -> Result<Acked, Failure<SessionGone>> {
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(Failure::Refused(SessionGone::Ended))?;
    if owner.acknowledge(context.peer.node, &call, Instant::now())? {
        return Ok(Acked {});
    }
    owner.settled().await?;
    Err(Failure::Refused(SessionGone::Ended))
}

async fn close_session(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: CloseSession,
) -> Result<SessionClosed, Failure<SessionGone>> {
    let ended = Failure::Refused(SessionGone::Ended);
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(ended.clone())?;
    let Some(durable_with) = owner.close_session(context.peer.node, call.session, Instant::now())? else {
        owner.settled().await?;
        return Err(ended);
    };
    owner.answerable(durable_with).await?;
    tracing::info!(session = %call.session, "a session was closed");
    Ok(SessionClosed {})
}

async fn execute(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: Meta,
) -> Result<MetaDone, Failure<MetaError>> {
    let ended = Failure::Refused(MetaError::SessionEnded);
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(ended)?;
    if needs_newer_map(&call.op, &filesystems.cluster.view()) {
        filesystems.cluster.refresh().await;
    }
    if must_wait(&call.op, &filesystems.cluster.view()) {
        return Err(Fault::NotServing.into());
    }
    let view = || filesystems.cluster.view();
    owner.meta(context.peer.node, &call, view).await?.map_err(Failure::Refused)
}

async fn lock(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: Lock,
) -> Result<Locked, Failure<LockRefusal>> {
    let ended = Failure::Refused(LockRefusal::SessionEnded);
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(ended)?;
    owner.lock(context.peer.node, &call).await?.map_err(Failure::Refused)
}

async fn reclaim(
    filesystems: Arc<Filesystems>,
    context: CallContext,
    call: Reclaim,
) -> Result<Reclaimed, Failure<LockRefusal>> {
    let ended = Failure::Refused(LockRefusal::SessionEnded);
    let owner = filesystems.by_id(call.filesystem).await?.ok_or(ended)?;
    owner.reclaim(context.peer.node, &call).await?.map_err(Failure::Refused)
}

fn lease_ms(filesystems: &Filesystems) -> u32 {
    u32::try_from(filesystems.settings.lease.as_millis()).unwrap_or(u32::MAX)
}
