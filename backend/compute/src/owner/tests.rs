mod crashes;
mod operations;
mod sessions;

use std::path::Path;
use std::time::{Duration, Instant};

use weft_engine::FileLogOptions;
use weft_meta::SpaceView;
use weft_types::{ByteCount, Epoch, FilesystemId, Inode, NodeId, SessionId, SlotId, SlotSeq};
use weft_wire::Fault;
use weft_wire::compute::{Meta, OpenRefusal, OpenSession, SessionHolder};
use weft_wire::meta::{Caller, MakeNode, MetaError, MetaOp, MetaReply, Name, NewNode};

use super::*;
use crate::cluster::View;
use crate::owner::operations::Attempt;

pub(super) const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([5; 16]);
pub(super) const NODE: NodeId = NodeId::from_bytes([6; 16]);
pub(super) const LEASE: Duration = Duration::from_secs(10);

pub(super) fn settings() -> ComputeSettings {
    let log = FileLogOptions { segment_bytes: 1 << 20, headroom_bytes: 0, limit_bytes: u64::MAX };
    ComputeSettings { lease: LEASE, slots: 16, log, ..ComputeSettings::default() }
}

pub(super) fn view() -> View {
    let space = SpaceView { capacity: ByteCount::new(1 << 30), free: ByteCount::new(1 << 29) };
    View { map: None, space: Some(space) }
}

pub(super) fn open_under(dir: &Path, epoch: u64) -> Owner {
    Owner::open(dir, Epoch::new(epoch), Keys::of_a_test(FILESYSTEM), settings()).expect("opens")
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

pub(super) fn asked(read_only: bool) -> OpenSession {
    let (host, boot, mount) = ("host".to_owned(), "boot".to_owned(), "/mnt".to_owned());
    let holder = SessionHolder { host, boot, pid: 7, mount };
    OpenSession { filesystem: "default".to_owned(), read_only, holder, replaces: None }
}

/// An open session whose record is durable.
pub(super) fn attach(owner: &Owner, call: &OpenSession) -> Result<SessionId, OpenRefusal> {
    match owner.open_session(NODE, call, Instant::now()).expect("no fault") {
        Opening::Opened { session, durable_with } => {
            block_on(owner.durable(durable_with)).expect("durable");
            Ok(session)
        }
        Opening::Refused(refusal) => Err(refusal),
    }
}

/// A frontend with one slot.
pub(super) struct Frontend {
    pub(super) session: SessionId,
    pub(super) seq: u64,
}

impl Frontend {
    pub(super) fn attach(owner: &Owner) -> Self {
        Self { session: attach(owner, &asked(false)).expect("opens"), seq: 0 }
    }

    /// The next call in the slot.
    pub(super) fn call(&mut self, op: MetaOp) -> Meta {
        self.seq += 1;
        let (slot, seq) = (SlotId::new(3), SlotSeq::new(self.seq));
        Meta { filesystem: FILESYSTEM, session: self.session, slot, seq, caller: Caller::default(), op }
    }

    /// Calls, and waits for the answer.
    pub(super) fn ask(&mut self, owner: &Owner, op: MetaOp) -> Result<MetaReply, MetaError> {
        let call = self.call(op);
        block_on(owner.meta(NODE, &call, &view())).expect("serves")
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

pub(super) fn create(text: &str) -> MetaOp {
    MetaOp::MakeNode(MakeNode { parent: Inode::ROOT, name: name(text), node: NewNode::File, mode: 0o644 })
}

pub(super) fn unlink(text: &str) -> MetaOp {
    MetaOp::Unlink { parent: Inode::ROOT, name: name(text) }
}

pub(super) fn lookup(text: &str) -> MetaOp {
    MetaOp::Lookup { parent: Inode::ROOT, name: Some(name(text)) }
}

pub(super) fn inode_of(reply: &MetaReply) -> Inode {
    match reply {
        MetaReply::Opened(opened) => opened.attributes.inode,
        MetaReply::Attributes(attributes) => attributes.inode,
        other => panic!("no inode in {other:?}"),
    }
}

pub(super) fn execute(owner: &Owner, call: &Meta) -> Result<Attempt, Fault> {
    owner.execute(NODE, call, &view())
}
