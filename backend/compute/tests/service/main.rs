//! A compute process over real connections, with management and drives that tell what they were asked.

mod cluster;
mod drive;
mod management;

use std::collections::BTreeSet;

use cluster::{Cluster, FILESYSTEM, GROUP, GROUP_EPOCH, LONG, NAME, Running};
use weft_layout::{Geometry, Protection};
use weft_transport::{Bulk, CallError, Pool};
use weft_types::{ByteCount, Epoch, ExtentId, ExtentSeq, FileOffset, Inode, SessionId, SlotId, SlotSeq};
use weft_wire::coherence::{Attach, Term};
use weft_wire::compute::{
    CloseSession, DropFilesystem, DropProgress, DropRefusal, Meta, OpenRefusal, OpenSession, RenewSession,
    SessionGone, SessionHolder, SessionOpened,
};
use weft_wire::drive::ShardKey;
use weft_wire::meta::{Caller, Commit, MakeNode, MetaError, MetaOp, MetaReply, Name, NewExtent, NewNode};
use weft_wire::{Call, Fault};

async fn call<C: Call>(pool: &Pool, compute: &Running, call: C) -> Result<C::Reply, CallError<C::Refusal>> {
    pool.call(&compute.peer, &call, Bulk::none(), LONG).await.map(|(reply, _)| reply)
}

fn refusal<T: std::fmt::Debug, R: std::fmt::Debug>(outcome: Result<T, CallError<R>>) -> R {
    match outcome {
        Err(CallError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn open(read_only: bool) -> OpenSession {
    let (host, boot, mount) = ("host".to_owned(), "boot".to_owned(), "/mnt".to_owned());
    let holder = SessionHolder { host, boot, pid: 1, mount };
    OpenSession { filesystem: NAME.to_owned(), read_only, holder, replaces: None }
}

/// A mounted filesystem.
struct Mount<'a> {
    cluster: &'a Cluster,
    session: SessionId,
    term: Term,
    seq: u64,
    extents: u64,
}

impl<'a> Mount<'a> {
    async fn new(cluster: &'a Cluster, compute: &Running) -> Self {
        let opened: SessionOpened = call(&cluster.frontend, compute, open(false)).await.expect("opens");
        assert_eq!(opened.filesystem, FILESYSTEM);
        Self { cluster, session: opened.session, term: opened.place.term, seq: 0, extents: 0 }
    }

    fn next(&mut self, op: MetaOp) -> Meta {
        self.seq += 1;
        let (slot, seq) = (SlotId::new(0), SlotSeq::new(self.seq));
        Meta {
            filesystem: FILESYSTEM,
            session: self.session,
            slot,
            seq,
            caller: Caller::default(),
            op,
            term: self.term,
        }
    }

    /// Takes a place: another owner serves.
    async fn attach(&mut self, compute: &Running) {
        let attach = Attach { filesystem: FILESYSTEM, session: self.session, holds: Vec::new() };
        self.term = call(&self.cluster.frontend, compute, attach).await.expect("attaches").term;
    }

    async fn ask(&mut self, compute: &Running, op: MetaOp) -> Result<MetaReply, CallError<MetaError>> {
        let next = self.next(op);
        let mut answer = call(&self.cluster.frontend, compute, next.clone()).await;
        if let Err(CallError::Refused(MetaError::NotAttached)) = answer {
            self.attach(compute).await;
            let again = Meta { term: self.term, ..next };
            answer = call(&self.cluster.frontend, compute, again).await;
        }
        answer.map(|done| done.reply)
    }

    /// Makes a file of one extent, and answers it with its shards.
    async fn file(&mut self, compute: &Running, name: &str, bytes: u64) -> (Inode, BTreeSet<ShardKey>) {
        let opened = match self.ask(compute, create(name)).await {
            Ok(MetaReply::Opened(opened)) => opened,
            other => panic!("{other:?}"),
        };
        self.extents += 1;
        let extent = ExtentId { session: self.session, seq: ExtentSeq::new(self.extents) };
        let geometry = Geometry::new(Protection::DEVELOPMENT, ByteCount::new(bytes)).expect("a geometry");
        let (inode, key) = (opened.attributes.inode, opened.key.id);
        let new = NewExtent {
            offset: FileOffset::new(0),
            extent,
            geometry,
            group: GROUP,
            group_epoch: GROUP_EPOCH,
            key,
        };
        let commit = Commit { inode, extents: vec![new], size_min: bytes, modified: None, attributes: None };
        self.ask(compute, MetaOp::Commit(commit)).await.expect("commits");
        (inode, geometry.stored_shards().map(|index| ShardKey { extent, index }).collect())
    }

    async fn remove(&mut self, compute: &Running, name: &str, inode: Inode) {
        let name = Name::new(name.as_bytes()).expect("a name");
        self.ask(compute, MetaOp::Unlink { parent: Inode::ROOT, name }).await.expect("removes");
        self.ask(compute, MetaOp::Reap { inodes: vec![inode] }).await.expect("reaps");
    }

    async fn close(self, compute: &Running) {
        let close = CloseSession { filesystem: FILESYSTEM, session: self.session };
        call(&self.cluster.frontend, compute, close).await.expect("closes");
    }
}

fn create(name: &str) -> MetaOp {
    let name = Name::new(name.as_bytes()).expect("a name");
    MetaOp::MakeNode(MakeNode { parent: Inode::ROOT, name, node: NewNode::File, mode: 0o644, umask: 0 })
}

fn lookup(name: &str) -> MetaOp {
    MetaOp::Lookup {
        parent: Inode::ROOT,
        name: Some(Name::new(name.as_bytes()).expect("a name")),
        map_entries: None,
    }
}

#[tokio::test]
async fn a_session_goes_on_after_the_process_is_started_anew() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    let made = mount.next(create("a"));
    let first = call(&cluster.frontend, &compute, made.clone()).await.expect("made");
    cluster.until_reported("it is counted", |report| report.sessions == 1 && report.operations >= 1).await;
    compute.stop().await;

    assert_eq!(cluster.stage.with(|seen| seen.released.len()), 1, "the ownership was let go of");
    std::fs::remove_dir_all(cluster.state()).expect("its folder is a cache");

    let compute = cluster.start();
    let renew = RenewSession { filesystem: FILESYSTEM, session: mount.session };
    let renewed = call(&cluster.frontend, &compute, renew).await.expect("renewed");
    assert_eq!(renewed.lease_ms, 10_000);
    mount.attach(&compute).await;
    let again = Meta { term: mount.term, ..made };
    let again = call(&cluster.frontend, &compute, again).await.expect("the first answer");
    assert_eq!((again.reply, again.touched), (first.reply, first.touched));
    mount.ask(&compute, lookup("a")).await.expect("is there");
    assert_eq!(cluster.stage.with(|seen| seen.row.epoch), Epoch::new(2), "every start takes a new epoch");
    compute.stop().await;
}

#[tokio::test]
async fn calls_are_refused_with_their_reason() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let missing = OpenSession { filesystem: "none".to_owned(), ..open(false) };
    assert_eq!(refusal(call(&cluster.frontend, &compute, missing).await), OpenRefusal::NoSuchFilesystem);
    let unknown = RenewSession { filesystem: FILESYSTEM, session: SessionId::from_bytes([9; 16]) };
    assert_eq!(refusal(call(&cluster.frontend, &compute, unknown).await), SessionGone::Ended);

    let mut mount = Mount::new(&cluster, &compute).await;
    let replacing = OpenSession { replaces: Some(mount.session), ..open(false) };
    assert_eq!(refusal(call(&cluster.other_frontend, &compute, replacing).await), OpenRefusal::NotYours);
    let stolen = mount.next(create("stolen"));
    assert_eq!(refusal(call(&cluster.other_frontend, &compute, stolen).await), MetaError::SessionEnded);
    let role = call(&cluster.manager, &compute, open(false)).await;
    assert!(matches!(role, Err(CallError::Fault(Fault::Unauthorised))), "{role:?}");
    let role = call(&cluster.frontend, &compute, DropFilesystem { filesystem: FILESYSTEM }).await;
    assert!(matches!(role, Err(CallError::Fault(Fault::Unauthorised))), "{role:?}");
    compute.stop().await;
}

#[tokio::test]
async fn room_is_net_of_parity_and_spare() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    cluster.until_reported("a second heartbeat", |_| true).await;
    let mut mount = Mount::new(&cluster, &compute).await;
    let count = cluster.stage.with(|seen| seen.heartbeats.len());
    // The answer to the heartbeat before the next one has arrived by then.
    cluster.stage.until("two more heartbeats", |seen| seen.heartbeats.len() > count + 1).await;
    let Ok(MetaReply::Space(space)) = mount.ask(&compute, MetaOp::GetSpace).await else { panic!("no space") };
    let capacity = (4_u64 << 30) * 3 * 2 * 9 / (4 * 3 * 10);
    assert_eq!(space.capacity, ByteCount::new(capacity));
    assert_eq!(space.free, management::FREE);
    compute.stop().await;
}

#[tokio::test]
async fn a_dead_extent_is_deleted_wherever_it_may_be_and_then_forgotten() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    let (inode, shards) = mount.file(&compute, "a", 100_000).await;
    assert_eq!(shards.len(), 3);
    // The drive that was a member before does not delete.
    let earlier = cluster.drive(3);
    cluster.stage.with(|seen| seen.refusing.insert(earlier));
    mount.remove(&compute, "a", inode).await;
    cluster.stage.until("the earlier member is asked", |seen| seen.refused > 0).await;
    cluster.until_reported("it is still garbage", |report| report.extents_to_reclaim == 1).await;
    cluster.stage.with(|seen| seen.refusing.clear());
    cluster.stage.until("all shards are deleted", |seen| seen.deleted.contains_key(&earlier)).await;
    cluster.until_reported("it is forgotten", |report| report.extents_to_reclaim == 0).await;
    cluster.stage.with(|seen| {
        let at = |number: usize| seen.deleted.get(&cluster.drive(number)).cloned().unwrap_or_default();
        let present: BTreeSet<_> = (0..3).flat_map(at).collect();
        assert_eq!(present, shards);
        assert_eq!(at(3), at(2), "the earlier member holds what its successor holds");
        assert_eq!(at(2).len(), 1);
    });
    compute.stop().await;
}

#[tokio::test]
async fn extents_of_a_membership_that_is_over_or_unknown_are_refused() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    let Ok(MetaReply::Opened(opened)) = mount.ask(&compute, create("a")).await else { panic!("not made") };
    let geometry = Geometry::new(Protection::DEVELOPMENT, ByteCount::new(9)).expect("a geometry");
    for (seq, group_epoch, committed) in [(1, 1, false), (2, 9, true), (3, 2, true)] {
        let extent = ExtentId { session: mount.session, seq: ExtentSeq::new(seq) };
        let (offset, group_epoch) = (FileOffset::new(0), Epoch::new(group_epoch));
        let new = NewExtent { offset, extent, geometry, group: GROUP, group_epoch, key: opened.key.id };
        let inode = opened.attributes.inode;
        let commit = Commit { inode, extents: vec![new], size_min: 9, modified: None, attributes: None };
        let outcome = mount.ask(&compute, MetaOp::Commit(commit)).await;
        assert_eq!(outcome.is_ok(), committed, "epoch {group_epoch}: {outcome:?}");
    }
    compute.stop().await;
}

async fn dropped(cluster: &Cluster, compute: &Running) -> DropProgress {
    call(&cluster.manager, compute, DropFilesystem { filesystem: FILESYSTEM }).await.expect("drops")
}

/// Asks until nothing is left.
async fn until_dropped(cluster: &Cluster, compute: &Running) {
    let wait = async { while !dropped(cluster, compute).await.done {} };
    tokio::time::timeout(LONG, wait).await.expect("comes to an end");
}

#[tokio::test]
async fn a_filesystem_is_dropped_once_nobody_has_it_even_if_the_process_ends_meanwhile() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    let (_, shards) = mount.file(&compute, "a", 5_000).await;
    mount.file(&compute, "b", 100).await;
    let drop_it = DropFilesystem { filesystem: FILESYSTEM };
    let unasked = refusal(call(&cluster.manager, &compute, drop_it).await);
    assert!(
        matches!(unasked, DropRefusal::MetadataUnavailable { .. }),
        "management does not say so: {unasked:?}"
    );
    cluster.stage.with(|seen| seen.deleting = true);
    let DropRefusal::Mounted { holder } = refusal(call(&cluster.manager, &compute, drop_it).await) else {
        panic!("not mounted")
    };
    assert_eq!(holder.host, "host");
    mount.ask(&compute, lookup("a")).await.expect("nothing has changed");
    mount.close(&compute).await;

    let refusing = cluster.drive(1);
    cluster.stage.with(|seen| seen.refusing.insert(refusing));
    assert_eq!(dropped(&cluster, &compute).await, DropProgress { done: false, extents_left: 2 });
    assert_eq!(refusal(call(&cluster.frontend, &compute, open(false)).await), OpenRefusal::Deleting);
    cluster.stage.until("a drive refuses", |seen| seen.refused > 0).await;
    compute.stop().await;

    cluster.stage.with(|seen| seen.refusing.clear());
    let compute = cluster.start();
    assert_eq!(refusal(call(&cluster.frontend, &compute, open(false)).await), OpenRefusal::Deleting);
    until_dropped(&cluster, &compute).await;
    cluster.stage.with(|seen| {
        let gone: BTreeSet<_> = seen.deleted.values().flatten().copied().collect();
        assert!(gone.is_superset(&shards));
    });
    assert_eq!(cluster.state().read_dir().expect("lists").count(), 0, "nothing of it is left");
    cluster.stage.with(|seen| {
        assert!(seen.row.segments.is_empty() && seen.row.checkpoint.is_none());
        let gone = |log: &drive::HeldLog| {
            log.trimmed == u64::MAX && log.records.is_empty() && log.objects.is_empty()
        };
        assert_eq!(seen.logs.values().filter(|log| gone(log)).count(), 4, "{:?}", seen.logs);
    });
    assert_eq!(dropped(&cluster, &compute).await, DropProgress { done: true, extents_left: 0 });
    compute.stop().await;
}

#[tokio::test]
async fn a_filesystem_that_was_never_used_is_dropped() {
    let cluster = Cluster::new().await;
    cluster.stage.with(|seen| seen.deleting = true);
    let compute = cluster.start();
    until_dropped(&cluster, &compute).await;
    compute.stop().await;
}

#[tokio::test]
async fn nothing_that_is_secret_is_in_the_clear_on_the_host() {
    const MARKER: &str = "a-marker-in-a-name";
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    mount.file(&compute, MARKER, 100).await;
    mount.close(&compute).await;
    compute.stop().await;
    let index = std::fs::read(cluster.state().join(FILESYSTEM.to_string()).join("index")).expect("reads");
    let mut places = vec![index];
    cluster.stage.with(|seen| {
        for log in seen.logs.values() {
            places.extend(log.records.values().map(|(_, record)| record.to_vec()));
            places.extend(log.objects.values().map(|part| part.to_vec()));
        }
    });
    let contains =
        |text: &[u8]| places.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text));
    assert!(!contains(MARKER.as_bytes()));
    assert!(contains(b"host"), "sessions are in clear: the right places were looked at");
}

#[tokio::test]
async fn a_takeover_that_outlasts_its_caller_goes_on() {
    let cluster = Cluster::new().await;
    cluster.stage.with(|seen| seen.holding = true);
    let compute = cluster.start();
    let short = std::time::Duration::from_millis(300);
    let given_up = cluster.frontend.call(&compute.peer, &open(true), Bulk::none(), short).await;
    assert!(given_up.is_err());
    cluster.stage.with(|seen| seen.holding = false);
    Mount::new(&cluster, &compute).await.close(&compute).await;
    assert_eq!(cluster.stage.with(|seen| seen.row.epoch), Epoch::new(1), "it was not begun anew");
    compute.stop().await;
}

#[tokio::test]
async fn before_management_was_heard_of_nothing_is_said_about_drives() {
    let cluster = Cluster::new().await;
    let map = cluster.stage.with(|seen| seen.map.take());
    let compute = cluster.start();
    let refused = refusal(call(&cluster.frontend, &compute, open(false)).await);
    assert!(matches!(refused, OpenRefusal::MetadataUnavailable { .. }), "{refused:?}");
    cluster.stage.with(|seen| seen.map = map);
    let mut mount = Mount::new(&cluster, &compute).await;
    let commit =
        Commit { inode: Inode::ROOT, extents: Vec::new(), size_min: 0, modified: None, attributes: None };
    let known = mount.ask(&compute, MetaOp::Commit(commit)).await;
    assert_eq!(refusal(known), MetaError::IsDirectory);
    cluster.until_reported("management is heard of", |_| true).await;
    let space = mount.ask(&compute, MetaOp::GetSpace).await;
    assert!(matches!(space, Ok(MetaReply::Space(space)) if space.free.get() > 0), "{space:?}");
    compute.stop().await;
}

#[tokio::test]
async fn who_asks_again_and_again_makes_few_attempts_and_hears_why_they_failed() {
    let cluster = Cluster::new().await;
    cluster.stage.with(|seen| seen.map.take());
    let compute = cluster.start();
    for _ in 0..100 {
        let refused = refusal(call(&cluster.frontend, &compute, open(false)).await);
        let OpenRefusal::MetadataUnavailable { reason } = refused else { panic!("{refused:?}") };
        assert!(reason.contains("map"), "{reason}");
    }
    let attempts = cluster.stage.with(|seen| seen.row.epoch);
    assert!(attempts <= Epoch::new(20), "each is recorded in the cluster store: {attempts}");
    compute.stop().await;
}

#[tokio::test]
async fn an_ended_session_is_ended_at_management_and_closed_at_every_drive() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let away = cluster.drive(2);
    cluster.stage.with(|seen| seen.refusing.insert(away));
    let mount = Mount::new(&cluster, &compute).await;
    let session = mount.session;
    mount.close(&compute).await;
    cluster.stage.until("management has ended it", |seen| seen.ended.contains(&session)).await;
    let closed = |seen: &cluster::Seen| seen.closed.values().filter(|at| at.contains(&session)).count();
    cluster.stage.until("the drives that answer have closed it", |seen| closed(seen) == 3).await;
    compute.stop().await;

    // It is not forgotten with the process.
    cluster.stage.with(|seen| {
        seen.closed.clear();
        seen.refusing.clear();
    });
    let compute = cluster.start();
    cluster.stage.until("all drives have closed it", |seen| closed(seen) == 4).await;
    compute.stop().await;
}

#[tokio::test]
async fn metadata_goes_on_without_one_of_the_drives_of_its_log() {
    let cluster = Cluster::new().await;
    let compute = cluster.start();
    let mut mount = Mount::new(&cluster, &compute).await;
    mount.ask(&compute, create("before")).await.expect("made");
    let lost = cluster.stage.with(|seen| {
        let used = seen.row.segments.last().expect("a list").drives[0].drive;
        seen.map.as_ref().and_then(|map| map.drive(used)).expect("of the map").node
    });
    cluster.stage.with(|seen| seen.silent.insert(lost));
    mount.ask(&compute, create("without it")).await.expect("made");
    compute.stop().await;
    let compute = cluster.start();
    for name in ["before", "without it"] {
        mount.ask(&compute, lookup(name)).await.expect("is there");
    }
    compute.stop().await;
}
