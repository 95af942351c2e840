//! The calls that management answers, and for whom.

use std::time::SystemTime;

use bytes::Bytes;
use weft_transport::{CallContext, Failure, Router};
use weft_types::{Role, Timestamp};
use weft_wire::management::{
    CreateFilesystem, DeleteFilesystem, FilesystemDeleted, FilesystemsListed, GetMap, GetStatus, Heartbeat,
    ListFilesystems, MapReply, OwnFilesystem,
};
use weft_wire::ownership::{
    CareHeard, EndSession, GetShardRow, ListSessions, RegisterSession, RenewOwnerships, ReportCare,
    SessionEnded, SessionsListed, ShardSwapped, SwapShard,
};

use crate::management::Management;

/// Everyone needs the map.
const ANYONE: &[Role] = &Role::ALL;
/// Those that report.
const REPORTERS: &[Role] = &[Role::Drive, Role::Compute, Role::Frontend];
/// Those that finish what an administrator began, by a filesystem's id.
const OWNERS_AND_ADMINS: &[Role] = &[Role::Compute, Role::Admin];

type Answer<T, R> = Result<(T, Bytes), Failure<R>>;

fn answer<T, R>(result: Result<T, R>) -> Answer<T, R> {
    result.map(|reply| (reply, Bytes::new())).map_err(Failure::Refused)
}

fn time_of_day() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// The calls of management.
pub(crate) fn router(management: &Management) -> Router {
    let (map, status, list) = (management.clone(), management.clone(), management.clone());
    let (hear, create) = (management.clone(), management.clone());
    let delete = management.clone();
    let router = Router::new()
        .on(ANYONE, move |_, call: GetMap, _| {
            let contents = map.keeper.contents();
            let changed = call.known != Some(contents.map.version);
            let reply = MapReply { map: changed.then(|| contents.map.clone()) };
            async move { answer(Ok(reply)) }
        })
        .on(REPORTERS, move |context: CallContext, heartbeat: Heartbeat, _| {
            let heard = hear.hear(context.peer, heartbeat);
            async move { answer(heard) }
        })
        .on(&[Role::Admin], move |_, _: GetStatus, _| {
            let status = status.status();
            async move { answer(Ok(status)) }
        })
        .on(OWNERS_AND_ADMINS, move |_, _: ListFilesystems, _| {
            let filesystems = list.keeper.contents().infos();
            async move { answer(Ok(FilesystemsListed { filesystems })) }
        })
        .on(&[Role::Admin], move |_, call: CreateFilesystem, _| {
            let create = create.clone();
            async move { answer(create.create_filesystem(call.name, time_of_day()).await) }
        })
        .on(&[Role::Admin], move |context: CallContext, call: DeleteFilesystem, _| {
            let delete = delete.clone();
            async move {
                let deleted = delete.delete_filesystem(call.name, context.deadline).await;
                answer(deleted.map(|()| FilesystemDeleted {}))
            }
        });
    for_owners(router, management)
}

/// The calls of compute processes about the metadata shards that they own.
fn for_owners(router: Router, management: &Management) -> Router {
    let compute = &[Role::Compute];
    let (own, swap, row) = (management.clone(), management.clone(), management.clone());
    let (renew, register, end) = (management.clone(), management.clone(), management.clone());
    let (care, sessions) = (management.clone(), management.clone());
    router
        .on(compute, move |context: CallContext, call: OwnFilesystem, _| {
            let own = own.clone();
            async move { answer(own.own_filesystem(call.name, call.shard, context.peer.node).await) }
        })
        .on(compute, move |context: CallContext, call: SwapShard, _| {
            let swap = swap.clone();
            async move { answer(swap.swap_shard(call, context.peer.node).await.map(|()| ShardSwapped {})) }
        })
        .on(compute, move |context: CallContext, call: GetShardRow, _| {
            let reply = row.shard_row(call, context.peer.node);
            async move { answer(reply) }
        })
        .on(compute, move |context: CallContext, call: RenewOwnerships, _| {
            let renewed = renew.renew_ownerships(&call, context.peer.node);
            async move { answer(Ok(renewed)) }
        })
        .on(compute, move |context: CallContext, call: RegisterSession, _| {
            let register = register.clone();
            async move { answer(register.register_session(call, context.peer.node).await) }
        })
        .on(compute, move |context: CallContext, call: EndSession, _| {
            let end = end.clone();
            async move {
                let ended = end.end_session(call.owner, call.session, context.peer.node).await;
                answer(ended.map(|()| SessionEnded {}))
            }
        })
        .on(compute, move |context: CallContext, call: ListSessions, _| {
            let listed = sessions.registered_sessions(&call.owner, context.peer.node);
            async move { answer(listed.map(|sessions| SessionsListed { sessions })) }
        })
        .on(compute, move |context: CallContext, call: ReportCare, _| {
            let heard = care.report_care(&call, context.peer.node);
            async move { answer(heard.map(|()| CareHeard {})) }
        })
}
