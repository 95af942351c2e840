//! A filesystem in memory with one session, and short words for operations on it.

use weft_layout::{Geometry, Protection};
use weft_types::{
    ByteCount, DataKeyId, Epoch, ExtentId, ExtentSeq, FileOffset, FilesystemId, GroupId, Inode, NameHash,
    NodeId, SessionId, Timestamp,
};
use weft_wire::KeyBytes;
use weft_wire::compute::SessionHolder;
use weft_wire::meta::{
    Attributes, Caller, Commit, MakeNode, MetaError, MetaOp, MetaReply, Name, NewExtent, NewNode, ReadMap,
    Removed,
};

use super::memory::Memory;
use crate::{
    Context, GroupEpochs, KeyMaker, NameHasher, NewKey, Progress, SessionRow, SpaceView, continue_work,
    execute, format, session,
};

pub(super) const GROUP: GroupId = GroupId::new(4);
pub(super) const GROUP_EPOCH: Epoch = Epoch::new(7);

/// Spreads names over as few hashes as the test wants, so that names collide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) hashes: u64,
}

impl NameHasher for Names {
    fn hash(&self, parent: Inode, name: &[u8]) -> NameHash {
        let seed = 0xcbf2_9ce4_8422_2325 ^ parent.get();
        let mixed = name.iter().fold(seed, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        NameHash::new(NameHash::MIN.get() + mixed % self.hashes).expect("few hashes")
    }
}

/// Keys that show which id they are for.
pub(super) struct Keys;

pub(super) fn key_bytes(id: DataKeyId) -> [u8; 32] {
    [id.get() as u8 ^ 0x80; 32]
}

impl KeyMaker for Keys {
    fn fresh(&self, id: DataKeyId) -> Result<NewKey, MetaError> {
        Ok(NewKey { key: KeyBytes::new(key_bytes(id)), wrapped: id.get().to_be_bytes().to_vec() })
    }

    fn unwrap(&self, id: DataKeyId, wrapped: &[u8]) -> Result<KeyBytes, MetaError> {
        if wrapped == id.get().to_be_bytes() {
            Ok(KeyBytes::new(key_bytes(id)))
        } else {
            Err(MetaError::Damaged)
        }
    }
}

pub(super) struct Groups;

impl GroupEpochs for Groups {
    fn floor(&self, group: GroupId) -> Option<Epoch> {
        (group == GROUP).then_some(GROUP_EPOCH)
    }
}

pub(super) struct World {
    pub(super) rows: Memory,
    pub(super) names: Names,
    pub(super) caller: Caller,
    pub(super) session: SessionId,
    pub(super) now: i64,
    pub(super) extents: u64,
}

pub(super) const fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 5 }
}

pub(super) const fn session_id(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

pub(super) fn session_row(read_only: bool) -> SessionRow {
    let holder = SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 9, mount: "/m".to_owned() };
    SessionRow { node: NodeId::from_bytes([3; 16]), holder, read_only, opened: at(1) }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

pub(super) fn geometry(len: u64) -> Geometry {
    Geometry::new(Protection::new(4, 2).expect("4+2"), ByteCount::new(len)).expect("a length")
}

impl World {
    /// A formatted filesystem whose names never collide, at time 1.
    pub(super) fn new() -> Self {
        Self::with_hashes(u64::MAX >> 2)
    }

    pub(super) fn with_hashes(hashes: u64) -> Self {
        let mut world = Self {
            rows: Memory::default(),
            names: Names { hashes },
            caller: Caller { uid: 10, gid: 20 },
            session: session_id(1),
            now: 1,
            extents: 0,
        };
        let mut rows = std::mem::take(&mut world.rows);
        world.with_context(|cx| format(&mut rows, cx)).expect("formats");
        session::open(&mut rows, world.session, &session_row(false));
        world.rows = rows;
        world
    }

    fn with_context<T>(&self, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: at(self.now),
            caller: self.caller,
            session: self.session,
            users: &[],
            filesystem: FilesystemId::from_bytes([2; 16]),
            names: &self.names,
            keys: &Keys,
            groups: &Groups,
            space: SpaceView { capacity: ByteCount::new(1000), free: ByteCount::new(600) },
        };
        act(&mut cx)
    }

    /// Executes an operation as a runner does: nothing of a refused one stays.
    pub(super) fn run(&mut self, op: &MetaOp) -> Result<MetaReply, MetaError> {
        let mut rows = self.rows.clone();
        let answer = self.with_context(|cx| execute(&mut rows, cx, op));
        if answer.is_ok() {
            self.rows = rows;
        }
        answer
    }

    pub(super) fn touched(&self, op: &MetaOp) -> Vec<Attributes> {
        self.with_context(|cx| crate::touched(&self.rows, cx, op)).expect("sound rows")
    }

    pub(super) fn work(&mut self, budget: usize) -> Progress {
        continue_work(&mut self.rows, at(self.now), budget).expect("works")
    }

    pub(super) fn make(&mut self, parent: Inode, text: &str, node: NewNode) -> Result<Attributes, MetaError> {
        let op = MakeNode { parent, name: name(text), node, mode: 0o755, umask: 0 };
        self.run(&MetaOp::MakeNode(op)).map(attributes_of)
    }

    pub(super) fn file(&mut self, parent: Inode, text: &str) -> Inode {
        self.make(parent, text, NewNode::File).expect("makes a file").inode
    }

    pub(super) fn directory(&mut self, parent: Inode, text: &str) -> Inode {
        self.make(parent, text, NewNode::Directory).expect("makes a directory").inode
    }

    pub(super) fn attributes(&mut self, inode: Inode) -> Attributes {
        attributes_of(self.run(&MetaOp::GetAttributes { inode }).expect("exists"))
    }

    pub(super) fn lookup(&mut self, parent: Inode, text: &str) -> Result<Inode, MetaError> {
        let op = MetaOp::Lookup { parent, name: Some(name(text)), map_entries: None };
        self.run(&op).map(|reply| attributes_of(reply).inode)
    }

    pub(super) fn unlink(&mut self, parent: Inode, text: &str) -> Result<Removed, MetaError> {
        self.run(&MetaOp::Unlink { parent, name: name(text) }).map(|reply| match reply {
            MetaReply::Removed(removed) => removed,
            other => panic!("not removed: {other:?}"),
        })
    }

    /// A new extent of this session for `len` bytes at `offset` of a file.
    pub(super) fn extent(&mut self, inode: Inode, offset: u64, len: u64) -> NewExtent {
        self.extents += 1;
        let key = crate::transaction::load_known::<crate::InodeRow>(&self.rows, crate::RowKey::Inode(inode));
        NewExtent {
            offset: FileOffset::new(offset),
            extent: ExtentId { session: self.session, seq: ExtentSeq::new(self.extents) },
            geometry: geometry(len),
            group: GROUP,
            group_epoch: GROUP_EPOCH,
            key: key.ok().and_then(|row| row.key).unwrap_or(DataKeyId::new(1)),
        }
    }

    /// Commits new extents at these (offset, length) and makes the file at least that long.
    pub(super) fn commit(&mut self, inode: Inode, parts: &[(u64, u64)]) -> Result<Attributes, MetaError> {
        let extents: Vec<_> = parts.iter().map(|(offset, len)| self.extent(inode, *offset, *len)).collect();
        let size_min = parts.iter().map(|(offset, len)| offset + len).max().unwrap_or(0);
        self.commit_extents(inode, extents, size_min)
    }

    pub(super) fn commit_extents(
        &mut self,
        inode: Inode,
        extents: Vec<NewExtent>,
        size_min: u64,
    ) -> Result<Attributes, MetaError> {
        let op = Commit { inode, extents, size_min, modified: Some(at(self.now)), attributes: None };
        self.run(&MetaOp::Commit(op)).map(attributes_of)
    }

    /// The whole map as (offset, length, extent number, offset in the extent), read in pages.
    pub(super) fn map(&mut self, inode: Inode, page: u32) -> Vec<(u64, u32, u64, u32)> {
        let (mut runs, mut from) = (Vec::new(), 0);
        loop {
            let op = MetaOp::ReadMap(ReadMap { inode, from, until: u64::MAX, limit: page });
            let MetaReply::Map(map) = self.run(&op).expect("reads the map") else { panic!("not a map") };
            for entry in &map.entries {
                assert!(map.keys.iter().any(|grant| grant.id == entry.key), "the key is granted");
                runs.push((entry.offset.get(), entry.len, entry.extent.seq.get(), entry.extent_offset));
                from = entry.offset.get() + u64::from(entry.len);
            }
            if map.end {
                return runs;
            }
        }
    }
}

pub(super) fn attributes_of(reply: MetaReply) -> Attributes {
    match reply {
        MetaReply::Attributes(attributes) => attributes,
        MetaReply::Opened(opened) => opened.attributes,
        other => panic!("no attributes: {other:?}"),
    }
}
