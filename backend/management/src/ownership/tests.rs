use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{advance, sleep};
use weft_engine::store::{StoreCallError, StoreDrives, StoreSettings, open_store, store_headers, term_of};
use weft_keys::ClusterKey;
use weft_kms::{EncryptionContext, KeyManagement, LocalKms};
use weft_pki::{AuthorityVerifier, ClusterAuthority, NodeIdentity, Validity};
use weft_transport::{Pool, PoolSettings};
use weft_types::{DriveId, Epoch, Incarnation, Role, StoreVersion, Timestamp};
use weft_wire::grant::{GRANT_PURPOSE, Grant};
use weft_wire::ownership::{GroupFloor, LogSegment, ShardRow};
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreRefusal, StoreTaken};

use super::*;
use crate::{fixture, found};

const A: NodeId = NodeId::from_bytes([0xa; 16]);
const B: NodeId = NodeId::from_bytes([0xb; 16]);
const SHARD: MetadataShard = MetadataShard::new(0);

type Copies = BTreeMap<DriveId, (Epoch, Option<(StoreVersion, Bytes)>)>;

/// Drives in memory.
#[derive(Clone, Default)]
struct Drives(Arc<Mutex<Copies>>);

impl StoreDrives for Drives {
    fn open(
        &self,
        drive: DriveId,
        call: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static {
        let mut drives = self.0.lock().expect("whole");
        let (promised, copy) = drives.entry(drive).or_default();
        let fenced = call.term.is_some_and(|term| term <= *promised);
        let by = *promised;
        *promised = by.max(call.term.unwrap_or_default());
        let held = StoreHeld {
            promised: *promised,
            copy: copy.as_ref().map(|(version, _)| (term_of(*version), *version)),
            seen: copy.as_ref().map(|(version, _)| *version).unwrap_or_default(),
            epochs: Vec::new(),
            incarnation: Incarnation::new(1),
        };
        let bytes = copy.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        let refusal = StoreCallError::Refused(StoreRefusal::Fenced { by });
        core::future::ready(if fenced { Err(refusal) } else { Ok((held, bytes)) })
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutStore,
        copy: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static {
        let mut drives = self.0.lock().expect("whole");
        let by = drives.get(&drive).map(|(promised, _)| *promised).unwrap_or_default();
        let taken = if call.term < by {
            Err(StoreCallError::Refused(StoreRefusal::Fenced { by }))
        } else {
            drives.insert(drive, (call.term, Some((call.version, copy))));
            Ok(StoreTaken { incarnation: Incarnation::new(1) })
        };
        core::future::ready(taken)
    }
}

/// A cluster whose store lies on drives in memory.
struct Cluster {
    drives: Drives,
    kms: Arc<dyn KeyManagement>,
    authority: ClusterAuthority,
    _dir: tempfile::TempDir,
}

fn now() -> Timestamp {
    Timestamp { seconds: 1_790_000_000, ..Timestamp::default() }
}

impl Cluster {
    async fn make() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let kms: Arc<dyn KeyManagement> =
            Arc::new(LocalKms::create(&dir.path().join("key")).expect("created"));
        let map = fixture::map();
        let authority = ClusterAuthority::create(map.cluster, now()).expect("created");
        let founded = found(map, &authority, &*kms).await.expect("founded");
        assert_eq!(founded.voters.len(), 5);
        let drives = Drives::default();
        for home in &founded.voters {
            let call = PutStore { term: founded.term, version: founded.version };
            drives.put(home.drive, call, founded.copy.clone()).await.expect("taken");
        }
        Self { drives, kms, authority, _dir: dir }
    }

    /// Starts a management process.
    async fn manage(&self) -> Management {
        let map = fixture::map();
        let places: Vec<_> = map.drives.iter().map(|drive| drive.id).collect();
        let header = store_headers(&self.drives, &places).await.expect("whole").remove(0);
        let context = EncryptionContext::of_cluster(map.cluster);
        let key = self.kms.unwrap(&header.cluster_key, &context).await.expect("unwraps");
        let settings = StoreSettings {
            drives: Arc::new(self.drives.clone()),
            places,
            cluster: map.cluster,
            key: ClusterKey::from_bytes(key.expose()),
            nonces: Box::new(random::nonce),
            seed: 1,
        };
        let (store, driver) = open_store::<_, Contents>(settings).await.expect("opens");
        tokio::spawn(driver.run());
        let identity =
            NodeIdentity { cluster: map.cluster, role: Role::Management, node: map.management.node };
        let validity = Validity::of_a_node(now()).expect("dated");
        let credentials = self.authority.issue(identity, validity).expect("issued");
        let pool = Pool::new(Handle::current(), &credentials, PoolSettings::default()).expect("a pool");
        let authority = ClusterAuthority::from_pem(store.contents().authority.expose()).expect("reads");
        Management::new(store, authority, Arc::clone(&self.kms), pool)
    }
}

async fn own(management: &Management, node: NodeId) -> Ownership {
    management.own_filesystem("home".to_owned(), SHARD, node).await.expect("owned")
}

fn held(ownership: &Ownership) -> Held {
    Held { filesystem: ownership.filesystem.id, shard: SHARD, epoch: ownership.epoch }
}

fn renewal(ownership: &Ownership) -> RenewOwnerships {
    RenewOwnerships { held: vec![held(ownership)], released: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn an_owner_gives_way_to_the_next_after_its_lease() {
    let cluster = Cluster::make().await;
    let management = cluster.manage().await;
    management.create_filesystem("home".to_owned(), now()).await.expect("created");
    let first = own(&management, A).await;
    assert_eq!((first.epoch, first.lease_ms, first.serve_after_ms), (Epoch::new(1), 10_000, 0));
    assert_eq!(first.grants.len(), 6);
    sleep(Duration::from_secs(7)).await;
    let renewed = management.renew_ownerships(&renewal(&first), A);
    assert!(
        renewed.deposed.is_empty() && renewed.lease_ms > 7000 && renewed.lease_ms <= 10_000,
        "{renewed:?}"
    );
    advance(Duration::from_secs(3)).await;
    let second = own(&management, B).await;
    assert!((4000..=7000).contains(&second.serve_after_ms), "{}", second.serve_after_ms);
    let deposed = management.renew_ownerships(&renewal(&first), A).deposed;
    assert_eq!(deposed, [held(&first)]);
    let again = own(&management, B).await;
    assert!(again.serve_after_ms > 0, "the first may answer still, whoever asks again");
    let release = RenewOwnerships { held: Vec::new(), released: vec![held(&again)] };
    management.renew_ownerships(&release, B);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(own(&management, A).await.serve_after_ms, 0, "it was let go, and the first lease is over");
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_leases_and_nothing_else() {
    let cluster = Cluster::make().await;
    let management = cluster.manage().await;
    management.create_filesystem("home".to_owned(), now()).await.expect("created");
    let first = own(&management, A).await;
    let homes: Vec<_> = first.grants[..3].iter().map(|grant| grant.home).collect();
    let mut row = first.row.clone();
    row.version += 1;
    row.segments = vec![LogSegment { first: 1, drives: homes }];
    let swap = SwapShard { filesystem: first.filesystem.id, shard: SHARD, row: row.clone() };
    management.swap_shard(swap.clone(), A).await.expect("swapped");
    let next = ShardRow { version: row.version + 1, ..row.clone() };
    let swap = SwapShard { row: next, ..swap };
    let later = cluster.manage().await;
    assert!(
        matches!(management.swap_shard(swap, A).await, Err(SwapRefusal::Store { .. })),
        "the earlier process changes nothing any more"
    );
    let get = GetShardRow { filesystem: first.filesystem.id, shard: SHARD, epoch: first.epoch };
    assert_eq!(later.shard_row(get, A).expect("A owns it").row, row);
    let mine = own(&later, A).await;
    assert_eq!((mine.epoch, mine.serve_after_ms), (Epoch::new(2), 0));
    assert_eq!(later.shard_row(get, A), Err(SwapRefusal::Deposed { by: Epoch::new(2) }));
    let third = cluster.manage().await;
    assert!(own(&third, B).await.serve_after_ms > 9000, "nobody knows what was given");
}

#[tokio::test(start_paused = true)]
async fn sessions_are_registered_signed_for_and_ended() {
    let cluster = Cluster::make().await;
    let management = cluster.manage().await;
    management.create_filesystem("home".to_owned(), now()).await.expect("created");
    let owner = own(&management, A).await;
    let call = RegisterSession { owner: held(&owner), node: B };
    assert!(management.register_session(call, B).await.is_err(), "owners alone");
    let one = management.register_session(call, A).await.expect("registered");
    let other = management.register_session(call, A).await.expect("registered");
    assert_ne!(one.session, other.session);
    let verifier = AuthorityVerifier::from_certificate(cluster.authority.certificate()).expect("reads");
    assert!(verifier.verify(GRANT_PURPOSE, &one.grant.body, &one.grant.signature));
    let Ok(Grant::Session(grant)) = one.grant.grant() else { panic!("a session's") };
    assert_eq!((grant.session, grant.node), (one.session, B));
    management.end_session(held(&owner), one.session, A).await.expect("ended");
    let later = cluster.manage().await.keeper.contents();
    let sessions: Vec<_> = later.filesystems[0].sessions.iter().map(|row| row.session).collect();
    assert_eq!(sessions, [other.session]);
}

#[tokio::test(start_paused = true)]
async fn care_is_reported_by_owners_alone() {
    let cluster = Cluster::make().await;
    let management = cluster.manage().await;
    management.create_filesystem("home".to_owned(), now()).await.expect("created");
    let owner = own(&management, A).await;
    let group = management.keeper.contents().map.groups[0].clone();
    let report = ReportCare {
        owner: held(&owner),
        map: management.keeper.contents().map.version,
        floors: vec![GroupFloor { group: group.id, epoch: group.epoch }],
        reconciled: Vec::new(),
    };
    assert_eq!(management.report_care(&report, A), Ok(()));
    assert_eq!(management.report_care(&report, B), Err(SwapRefusal::Deposed { by: Epoch::new(1) }));
}
