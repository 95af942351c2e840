//! Management that keeps one filesystem's shard row, and remembers what it was told.

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use weft_keys::{FilesystemKey, MetadataKey, NameKey, Nonce};
use weft_kms::{EncryptionContext, KeyManagement};
use weft_pki::Credentials;
use weft_transport::{Failure, Router};
use weft_types::{
    ByteCount, Epoch, KeyVersion, MapVersion, MetadataShard, NodeId, Role, SessionId, StoreVersion, Timestamp,
};
use weft_wire::grant::{Grant, LogGrant, SessionGrant, SignedGrant};
use weft_wire::management::{
    FilesystemInfo, FilesystemKeyWrap, FilesystemRefusal, FilesystemsListed, GetMap, Heartbeat,
    HeartbeatHeard, ListFilesystems, MapReply, OwnFilesystem, Ownership,
};
use weft_wire::ownership::{
    CareHeard, DriveGrant, DriveHome, EndSession, GetShardRow, ListSessions, OwnershipsRenewed,
    RegisterSession, RenewOwnerships, ReportCare, SessionEnded, SessionRegistered, SessionsListed, ShardRow,
    ShardRowReply, ShardSwapped, SwapRefusal, SwapShard,
};

use crate::cluster::{CLUSTER, FILESYSTEM, NAME, Running, Seen, Stage, serve};

const COMPUTE: &[Role] = &[Role::Compute];
/// How long an ownership lasts.
const LEASE_MS: u32 = 20_000;

/// Net room that is left.
pub(crate) const FREE: ByteCount = ByteCount::new(700 << 20);

fn signed(grant: &Grant) -> SignedGrant {
    let body: ByteVec = minicbor::to_vec(grant).expect("encodes").into();
    SignedGrant { body, signature: Vec::new().into() }
}

fn grants(seen: &Seen, epoch: Epoch, owner: NodeId) -> Vec<DriveGrant> {
    let drives = seen.map.iter().flat_map(|map| &map.drives);
    drives
        .map(|drive| {
            let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
            let grant = LogGrant {
                cluster: CLUSTER,
                filesystem: FILESYSTEM,
                shard: MetadataShard::new(0),
                epoch,
                owner,
                drive: home.drive,
                incarnation: home.incarnation,
            };
            DriveGrant { home, grant: signed(&Grant::Log(grant)) }
        })
        .collect()
}

/// The filesystem's keys as management keeps them.
pub(crate) struct Keys {
    filesystem: FilesystemKeyWrap,
    metadata: ByteVec,
    name: ByteVec,
}

impl Keys {
    pub(crate) async fn new(kms: &dyn KeyManagement) -> Self {
        let version = KeyVersion::new(1);
        let key = FilesystemKey::from_bytes(FILESYSTEM, version, &[3; 32]);
        let context = EncryptionContext::of_filesystem(CLUSTER, FILESYSTEM);
        let wrapped = kms.wrap(key.expose(), &context).await.expect("wraps").as_bytes().to_vec().into();
        let nonce = |byte: u8| Nonce::from_random([byte; 12]);
        let metadata = key.wrap_metadata_key(&MetadataKey::from_bytes(&[4; 32]), nonce(1));
        let name = key.wrap_name_key(&NameKey::from_bytes(&[5; 32]), nonce(2));
        Self {
            filesystem: FilesystemKeyWrap { version, wrapped },
            metadata: minicbor::to_vec(metadata).expect("encodes").into(),
            name: minicbor::to_vec(name).expect("encodes").into(),
        }
    }
}

fn info(deleting: bool) -> FilesystemInfo {
    let (name, created) = (NAME.to_owned(), Timestamp::default());
    FilesystemInfo { id: FILESYSTEM, name, created, deleting, key_version: KeyVersion::new(1) }
}

fn own(seen: &mut Seen, owner: NodeId, keys: &Keys) -> Ownership {
    let epoch = seen.row.epoch.next();
    seen.row = ShardRow { version: seen.row.version + 1, epoch, owner, ..seen.row.clone() };
    Ownership {
        filesystem: info(seen.deleting),
        epoch,
        filesystem_keys: vec![keys.filesystem.clone()],
        metadata_key: keys.metadata.clone(),
        name_key: keys.name.clone(),
        row: seen.row.clone(),
        grants: grants(seen, epoch, owner),
        lease_ms: LEASE_MS,
        serve_after_ms: 0,
    }
}

fn swap(seen: &mut Seen, row: &ShardRow) -> Result<ShardSwapped, SwapRefusal> {
    if row.epoch != seen.row.epoch {
        return Err(SwapRefusal::Deposed { by: seen.row.epoch });
    }
    if row.version != seen.row.version + 1 {
        return Err(SwapRefusal::Changed { version: seen.row.version });
    }
    seen.row = row.clone();
    Ok(ShardSwapped {})
}

fn register(seen: &mut Seen, node: NodeId) -> SessionRegistered {
    seen.registered += 1;
    let mut bytes = [0xab; 16];
    bytes[..8].copy_from_slice(&seen.registered.to_be_bytes());
    let session = SessionId::from_bytes(bytes);
    seen.sessions.insert(session);
    let grant = SessionGrant { cluster: CLUSTER, filesystem: FILESYSTEM, session, node };
    SessionRegistered { session, grant: signed(&Grant::Session(grant)) }
}

/// Starts management.
pub(crate) fn management(credentials: &Credentials, stage: &Stage, keys: Keys) -> Running {
    let to = || stage.clone();
    let (maps, beats, lists, owns, care) = (to(), to(), to(), to(), to());
    let (swaps, rows, renewals, sessions, ends, listed) = (to(), to(), to(), to(), to(), to());
    let keys = std::sync::Arc::new(keys);
    let router = Router::new()
        .on(COMPUTE, move |_, _: GetMap, _| {
            let map = maps.with(|seen| seen.map.clone());
            async move { Ok((MapReply { map }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, heartbeat: Heartbeat, _| {
            beats.with(|seen| seen.heartbeats.push(heartbeat));
            let (capacity, used, free) = (ByteCount::new(4 << 30), ByteCount::new(300 << 20), Some(FREE));
            let (map, store) = (MapVersion::new(1), StoreVersion::new(1));
            async move { Ok((HeartbeatHeard { map, capacity, used, store, free }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, _: ListFilesystems, _| {
            let filesystems = vec![info(lists.with(|seen| seen.deleting))];
            async move { Ok((FilesystemsListed { filesystems }, Bytes::new())) }
        })
        .on(COMPUTE, move |context, call: OwnFilesystem, _| {
            let (owns, keys) = (owns.clone(), keys.clone());
            async move {
                if call.name != NAME {
                    return Err(Failure::Refused(FilesystemRefusal::NotFound));
                }
                let ownership = owns.with(|seen| own(seen, context.peer.node, &keys));
                owns.until("ownerships are answered", |seen| !seen.holding).await;
                Ok((ownership, Bytes::new()))
            }
        })
        .on(COMPUTE, move |_, call: SwapShard, _| {
            let swapped = swaps.with(|seen| swap(seen, &call.row));
            async move { swapped.map(|reply| (reply, Bytes::new())).map_err(Failure::Refused) }
        })
        .on(COMPUTE, move |context, call: GetShardRow, _| {
            let reply = rows.with(|seen| {
                let by = seen.row.epoch;
                let row = (by == call.epoch).then(|| seen.row.clone());
                let row = row.ok_or(Failure::Refused(SwapRefusal::Deposed { by }))?;
                Ok((ShardRowReply { row, grants: grants(seen, by, context.peer.node) }, Bytes::new()))
            });
            async move { reply }
        })
        .on(COMPUTE, move |_, call: RenewOwnerships, _| {
            let deposed = renewals.with(|seen| {
                seen.released.extend(call.released.iter().copied());
                let epoch = seen.row.epoch;
                call.held.into_iter().filter(|held| held.epoch != epoch).collect()
            });
            async move { Ok((OwnershipsRenewed { lease_ms: LEASE_MS, deposed }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, call: RegisterSession, _| {
            let registered = sessions.with(|seen| register(seen, call.node));
            async move { Ok((registered, Bytes::new())) }
        })
        .on(COMPUTE, move |_, call: EndSession, _| {
            ends.with(|seen| {
                seen.sessions.remove(&call.session);
                seen.ended.insert(call.session)
            });
            async move { Ok((SessionEnded {}, Bytes::new())) }
        })
        .on(COMPUTE, move |_, _: ListSessions, _| {
            let sessions = listed.with(|seen| seen.sessions.iter().copied().collect());
            async move { Ok((SessionsListed { sessions }, Bytes::new())) }
        })
        .on(COMPUTE, move |_, call: ReportCare, _| {
            care.with(|seen| seen.care.push(call));
            async move { Ok((CareHeard {}, Bytes::new())) }
        });
    serve(credentials, router)
}
