//! The workload whose power is cut: names, attributes, extents; sessions; drives and owners that go and come.

use minicbor::bytes::ByteVec;
use weft_layout::Geometry;
use weft_types::{ByteCount, Epoch, ExtentId, ExtentSeq, FileOffset, Inode};
use weft_wire::meta::{
    AttributeChanges, Commit, Compact, MakeNode, MetaError, MetaOp, MetaReply, Name, NewExtent, NewNode,
    Opened, ReadMap, Rename, RenameMode, SetXattr, XattrMode,
};

use crate::cluster::{GROUP, protection};
use crate::process::{Action, Answer};
use crate::run::Run;

/// How often all kinds of operations come.
const ROUNDS: u64 = 11;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

pub(crate) fn make(parent: Inode, text: &str, node: NewNode) -> MetaOp {
    MetaOp::MakeNode(MakeNode { parent, name: name(text), node, mode: 0o644, umask: 0 })
}

pub(crate) fn rename(from: (Inode, &str), to: (Inode, &str), mode: RenameMode) -> MetaOp {
    let (parent, new_parent) = (from.0, to.0);
    MetaOp::Rename(Rename { parent, name: name(from.1), new_parent, new_name: name(to.1), mode })
}

pub(crate) fn unlink(parent: Inode, text: &str) -> MetaOp {
    MetaOp::Unlink { parent, name: name(text) }
}

fn change(inode: Inode, changes: AttributeChanges) -> MetaOp {
    MetaOp::SetAttributes { inode, changes }
}

fn xattr(inode: Inode, value: Vec<u8>) -> MetaOp {
    let (name, value) = (b"user.color".to_vec().into(), value.into());
    MetaOp::SetXattr(SetXattr { inode, name, value, mode: XattrMode::Any, kill_set_group_id: false })
}

fn opened(answer: Answer) -> Opened {
    match answer {
        Ok(MetaReply::Opened(opened)) => opened,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn inode(answer: Answer) -> Inode {
    match answer {
        Ok(MetaReply::Opened(opened)) => opened.attributes.inode,
        Ok(MetaReply::Attributes(attributes)) => attributes.inode,
        other => panic!("{other:?}"),
    }
}

/// The workload, and numbers for its extents.
struct Workload<'a> {
    run: &'a mut Run,
    extents: u64,
}

impl Workload<'_> {
    async fn done(&mut self, op: MetaOp) -> MetaReply {
        let text = format!("{op:?}");
        self.run.ask(op).await.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn extent(&mut self, file: &Opened, offset: u64, len: u64) -> NewExtent {
        self.extents += 1;
        NewExtent {
            offset: FileOffset::new(offset),
            extent: ExtentId { session: self.run.session(), seq: ExtentSeq::new(self.extents) },
            geometry: Geometry::new(protection(), ByteCount::new(len)).expect("in range"),
            group: GROUP,
            group_epoch: Epoch::new(1),
            key: file.key.id,
        }
    }

    async fn commit(&mut self, file: &Opened, runs: &[(u64, u64)]) {
        let extents: Vec<_> = runs.iter().map(|(offset, len)| self.extent(file, *offset, *len)).collect();
        let size_min = runs.iter().map(|(offset, len)| offset + len).max().unwrap_or(0);
        let inode = file.attributes.inode;
        self.done(MetaOp::Commit(Commit { inode, extents, size_min, modified: None, attributes: None }))
            .await;
    }

    async fn compact(&mut self, file: &Opened, len: u64) {
        let inode = file.attributes.inode;
        let read = MetaOp::ReadMap(ReadMap { inode, from: 0, until: len, limit: 100 });
        let Ok(MetaReply::Map(page)) = self.run.read(read) else { panic!("no map") };
        let extents = vec![self.extent(file, 0, len)];
        let start = FileOffset::new(0);
        self.done(MetaOp::Compact(Compact { inode, start, len, expected: page.entries, extents })).await;
    }

    /// All kinds of operations, some of them refused.
    async fn round(&mut self, round: u64) {
        let root = Inode::ROOT;
        let text = |kind: &str| format!("{kind}{round}");
        let directory = inode(self.run.ask(make(root, &text("directory"), NewNode::Directory)).await);
        let first = opened(self.run.ask(make(directory, "first", NewNode::File)).await);
        let second = opened(self.run.ask(make(directory, "second", NewNode::File)).await);
        let at = first.attributes.inode;
        self.commit(&first, &[(0, 300_000)]).await;
        self.commit(&first, &[(100_000, 5_000), (200_000, 150_000)]).await;
        self.done(change(at, AttributeChanges { mode: Some(0o600), uid: Some(7), ..Default::default() }))
            .await;
        self.done(xattr(at, vec![b'x'; 400])).await;
        self.done(MetaOp::Link { inode: at, parent: root, name: name(&text("link")) }).await;
        let exists = self.run.ask(make(directory, "first", NewNode::File)).await;
        assert_eq!(exists, Err(MetaError::Exists));
        self.compact(&first, 350_000).await;
        self.commit(&second, &[(4096, 4096)]).await;
        self.done(rename((directory, "second"), (root, "second"), RenameMode::Replace)).await;
        self.done(change(at, AttributeChanges { size: Some(170_000), ..Default::default() })).await;
        let target: ByteVec = b"directory/first".to_vec().into();
        self.done(make(directory, "symlink", NewNode::Symlink { target })).await;
        self.done(rename((directory, "first"), (root, "second"), RenameMode::Exchange)).await;
        self.done(MetaOp::RemoveXattr { inode: at, name: b"user.color".to_vec().into() }).await;
        self.done(unlink(root, &text("link"))).await;
        self.done(unlink(directory, "symlink")).await;
        let busy =
            self.run.ask(MetaOp::RemoveDirectory { parent: root, name: name(&text("directory")) }).await;
        assert_eq!(busy, Err(MetaError::NotEmpty));
        if round % 3 != 2 {
            let removed = second.attributes.inode;
            self.done(unlink(directory, "first")).await;
            self.done(MetaOp::RemoveDirectory { parent: root, name: name(&text("directory")) }).await;
            if round.is_multiple_of(3) {
                self.done(MetaOp::Reap { inodes: vec![removed] }).await;
            }
        }
        self.run.act(Action::Work).await;
    }

    async fn end_of_session(&mut self, round: u64) {
        let session = self.run.session();
        let ends = if round == 2 { Action::Expire } else { Action::Close(session) };
        self.run.act(ends).await;
        for _ in 0..4 {
            self.run.act(Action::Work).await;
        }
        self.run.act(Action::ClosedEverywhere(session)).await;
        self.run.act(Action::ForgetDead).await;
        self.run.open().await;
    }
}

/// Sends all of it.
pub(crate) async fn run(run: &mut Run) {
    run.begin().await;
    run.open().await;
    let mut workload = Workload { run, extents: 0 };
    for round in 0..ROUNDS {
        workload.round(round).await;
        let cluster = std::sync::Arc::clone(&workload.run.cluster);
        match round {
            1 => cluster.silence(&[cluster.first_of_list()]),
            2 | 6 => workload.end_of_session(round).await,
            3 => cluster.silence(&[]),
            // What was sent last is not answered yet.
            4 | 9 => workload.run.change_owner().await,
            5 => cluster.count_as_down(&[cluster.first_of_list()]),
            _ => cluster.count_as_down(&[]),
        }
        cluster.clean().await;
    }
    workload.run.end().await;
}
