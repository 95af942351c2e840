mod cluster;
mod crashes;

mod leases;
mod locks;
mod log;
mod operations;
mod sessions;
mod whole_path;

use std::path::Path;
use std::time::Duration;

use weft_engine::recover_index;
use weft_meta::SpaceView;
use weft_types::{ByteCount, Epoch, FilesystemId, Inode, NodeId, SessionId, SlotId, SlotSeq};
use weft_wire::Fault;
use weft_wire::coherence::{Attach, Term};
use weft_wire::compute::{Meta, MetaDone, OpenRefusal, OpenSession, SessionHolder};
use weft_wire::meta::{Caller, MakeNode, MetaError, MetaOp, MetaReply, Name, NewNode};

use super::*;
use crate::cluster::View;
use crate::owner::operations::Attempt;
use log::Shelf;

pub(crate) const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([5; 16]);
pub(super) const NODE: NodeId = NodeId::from_bytes([6; 16]);
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How long an ownership lasts here where nothing else is said.
const OWNERSHIP: Duration = Duration::from_secs(3600);

pub(super) fn settings() -> ComputeSettings {
    ComputeSettings { lease: LEASE, slots: 16, ..ComputeSettings::default() }
}

pub(super) fn view() -> View {
    let space = SpaceView { capacity: ByteCount::new(1 << 30), free: ByteCount::new(1 << 29) };
    View { map: None, space: Some(space) }
}

pub(super) fn held(epoch: u64) -> Held {
    Held { filesystem: FILESYSTEM, shard: SHARD, epoch: Epoch::new(epoch) }
}

/// What an owner needs, in memory and in a directory of its own.
pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) log: Shelf,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("directory"), log: Shelf::default() }
    }

    pub(super) fn index(&self) -> std::path::PathBuf {
        self.dir.path().join("index")
    }

    /// Takes over, and begins to commit in a task.
    pub(super) async fn open(&self, epoch: u64) -> Owner {
        let now = Instant::now();
        self.open_with(Lease::new(held(epoch), now, OWNERSHIP, now, Duration::ZERO)).await
    }

    pub(super) async fn open_with(&self, lease: Lease) -> Owner {
        let log = self.log.take_over(lease.held().epoch);
        let index = recover_index(&log, &self.index()).await.expect("recovers").index;
        let (keys, sources) = (Some(Keys::of_a_test(FILESYSTEM)), Sources::of_the_host());
        let opening =
            Opening { lease: Arc::new(lease), keys, sources, settings: settings(), deleting: false };
        let Opened { owner, worker } = opening.start(log, index).expect("starts");
        tokio::spawn(worker.run());
        owner
    }
}

pub(super) fn asked(read_only: bool) -> OpenSession {
    let (host, boot, mount) = ("host".to_owned(), "boot".to_owned(), "/mnt".to_owned());
    let holder = SessionHolder { host, boot, pid: 7, mount };
    OpenSession { filesystem: "default".to_owned(), read_only, holder, replaces: None }
}

/// An id that never was.
pub(super) fn fresh_session() -> SessionId {
    SessionId::from_bytes(Sources::of_the_host().array())
}

/// An open session whose record is durable.
pub(super) async fn attach(owner: &Owner, call: &OpenSession) -> Result<SessionId, OpenRefusal> {
    let session = fresh_session();
    match owner.open_session(NODE, call, session, Instant::now()).expect("no fault") {
        SessionOpening::Opened { durable_with, .. } => {
            owner.answerable(durable_with).await.expect("durable");
            Ok(session)
        }
        SessionOpening::Refused(refusal) => Err(refusal),
    }
}

/// A frontend with one slot.
pub(super) struct Frontend {
    pub(super) session: SessionId,
    pub(super) seq: u64,
}

impl Frontend {
    pub(super) async fn attach(owner: &Owner) -> Self {
        Self { session: attach(owner, &asked(false)).await.expect("opens"), seq: 0 }
    }

    /// The next call in the slot.
    pub(super) fn call(&mut self, op: MetaOp) -> Meta {
        self.seq += 1;
        let (slot, seq) = (SlotId::new(3), SlotSeq::new(self.seq));
        Meta {
            filesystem: FILESYSTEM,
            session: self.session,
            slot,
            seq,
            caller: Caller::default(),
            op,
            term: Term::default(),
        }
    }

    /// Calls, and waits for the answer.
    pub(super) async fn ask(&mut self, owner: &Owner, op: MetaOp) -> Result<MetaReply, MetaError> {
        let call = self.call(op);
        meta(owner, NODE, &call).await.expect("serves").map(|done| done.reply)
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

pub(super) fn create(text: &str) -> MetaOp {
    MetaOp::MakeNode(MakeNode {
        parent: Inode::ROOT,
        name: name(text),
        node: NewNode::File,
        mode: 0o644,
        umask: 0,
    })
}

pub(super) fn unlink(text: &str) -> MetaOp {
    MetaOp::Unlink { parent: Inode::ROOT, name: name(text) }
}

pub(super) fn lookup(text: &str) -> MetaOp {
    MetaOp::Lookup { parent: Inode::ROOT, name: Some(name(text)), map_entries: None }
}

pub(super) fn inode_of(reply: &MetaReply) -> Inode {
    match reply {
        MetaReply::Opened(opened) => opened.attributes.inode,
        MetaReply::Attributes(attributes) => attributes.inode,
        other => panic!("no inode in {other:?}"),
    }
}

/// A call of a session that has just attached.
pub(super) fn placed(owner: &Owner, call: &Meta) -> Meta {
    let attach = Attach { filesystem: FILESYSTEM, session: call.session, holds: Vec::new() };
    let place = owner.attach(NODE, &attach, Instant::now()).ok().and_then(Result::ok);
    Meta { term: place.unwrap_or_default().term, ..call.clone() }
}

/// Calls, and waits for the answer.
pub(super) async fn meta(
    owner: &Owner,
    node: NodeId,
    call: &Meta,
) -> Result<Result<MetaDone, MetaError>, Fault> {
    owner.meta(node, &placed(owner, call), view).await
}

pub(super) fn execute(owner: &Owner, call: &Meta) -> Result<Attempt, Fault> {
    owner.execute(NODE, &placed(owner, call), &view(), None)
}

/// The index as a process that is killed now would leave it.
pub(super) fn copy_index(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copies");
}
