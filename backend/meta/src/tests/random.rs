//! Random operations, against the model.

use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use weft_types::{ExtentId, ExtentSeq, FileOffset, Inode};
use weft_wire::meta::{
    Access, Allocate, AllocateMode, AttributeChanges, Attributes, Commit, CopyRange, FileKind, MakeNode,
    MakeUnnamed, MapPage, MetaError, MetaOp, MetaReply, Name, NewNode, ReadMap, Rename, RenameMode, SetXattr,
    TimeChange, XattrMode,
};

use super::invariants;
use super::listing::list;
use super::model::{Byte, Model};
use super::world::{World, name, session_id, session_row};
use crate::reclaim::{self, ExtentState};
use crate::{Progress, session};

/// A mode and an owner that are set with a commit.
type Set = (Option<u16>, Option<u32>);

/// A step; inodes and names are picked from what there is when it is taken.
#[derive(Debug, Clone)]
enum Step {
    Make { parent: u8, name: u8, node: u8, modes: (u16, u16) },
    MakeUnnamed { parent: u8, modes: (u16, u16) },
    Accessed { inodes: Vec<u8>, at: i64 },
    SetAccessed { inode: u8, at: i64 },
    Unlink { parent: u8, name: u8 },
    RemoveDirectory { parent: u8, name: u8 },
    Link { inode: u8, parent: u8, name: u8 },
    Rename { parent: u8, name: u8, new_parent: u8, new_name: u8, mode: RenameMode },
    Resize { file: u8, size: u64 },
    SetAttributes { inode: u8, mode: Option<u16>, owner: (Option<u32>, Option<u32>), kill: bool },
    SetXattr { inode: u8, name: u8, len: usize, mode: XattrMode },
    RemoveXattr { inode: u8, name: u8 },
    Commit { file: u8, parts: Vec<(u64, u64)>, size_min: u64, timed: bool, set: Set },
    Allocate { file: u8, mode: AllocateMode, offset: u64, len: u64 },
    CopyRange { from: u8, from_offset: u64, to: u8, to_offset: u64, len: u64 },
    Reap { inode: u8 },
    NewSession { budget: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let rename_mode = prop_oneof![3 => Just(RenameMode::Replace), 1 => Just(RenameMode::NoReplace), 2 => Just(RenameMode::Exchange)];
    let modes = vec![XattrMode::Any, XattrMode::Create, XattrMode::Replace, XattrMode::CreateAndReplace];
    let xattr_mode = proptest::sample::select(modes);
    let b = any::<u8>;
    let mode = 0_u16..0o10000;
    let modes = (mode.clone(), prop_oneof![Just(0_u16), 0_u16..0o1000]);
    prop_oneof![
        10 => (b(), b(), b(), modes.clone()).prop_map(|(parent, name, node, modes)| Step::Make { parent, name, node, modes }),
        2 => (b(), modes).prop_map(|(parent, modes)| Step::MakeUnnamed { parent, modes }),
        2 => (proptest::collection::vec(b(), 0..3), 0_i64..150).prop_map(|(inodes, at)| Step::Accessed { inodes, at }),
        1 => (b(), 0_i64..150).prop_map(|(inode, at)| Step::SetAccessed { inode, at }),
        3 => (b(), b()).prop_map(|(parent, name)| Step::Unlink { parent, name }),
        3 => (b(), b()).prop_map(|(parent, name)| Step::RemoveDirectory { parent, name }),
        3 => (b(), b(), b()).prop_map(|(inode, parent, name)| Step::Link { inode, parent, name }),
        8 => (b(), b(), b(), b(), rename_mode).prop_map(|(parent, name, new_parent, new_name, mode)| Step::Rename { parent, name, new_parent, new_name, mode }),
        3 => (b(), 0_u64..70).prop_map(|(file, size)| Step::Resize { file, size }),
        2 => (b(), proptest::option::of(mode.clone()), (proptest::option::of(0_u32..4), proptest::option::of(0_u32..4)), any::<bool>())
            .prop_map(|(inode, mode, owner, kill)| Step::SetAttributes { inode, mode, owner, kill }),
        3 => (b(), b(), 0_usize..9, xattr_mode).prop_map(|(inode, name, len, mode)| Step::SetXattr { inode, name, len, mode }),
        1 => (b(), b()).prop_map(|(inode, name)| Step::RemoveXattr { inode, name }),
        8 => (b(), proptest::collection::vec((0_u64..60, 1_u64..20), 0..4), 0_u64..80, any::<bool>(), (proptest::option::of(mode), proptest::option::of(0_u32..4)))
            .prop_map(|(file, parts, size_min, timed, set)| Step::Commit { file, parts, size_min, timed, set }),
        3 => (b(), allocate_mode(), 0_u64..70, 0_u64..30).prop_map(|(file, mode, offset, len)| Step::Allocate { file, mode, offset, len }),
        4 => (b(), 0_u64..70, b(), 0_u64..70, 0_u64..40).prop_map(|(from, from_offset, to, to_offset, len)| Step::CopyRange { from, from_offset, to, to_offset, len }),
        2 => b().prop_map(|inode| Step::Reap { inode }),
        1 => (1_usize..9).prop_map(|budget| Step::NewSession { budget }),
    ]
}

fn allocate_mode() -> impl Strategy<Value = AllocateMode> {
    prop_oneof![
        Just(AllocateMode::Allocate),
        Just(AllocateMode::AllocateKeepSize),
        Just(AllocateMode::PunchHole),
        Just(AllocateMode::ZeroRange),
        Just(AllocateMode::ZeroRangeKeepSize),
    ]
}

struct Pair {
    world: World,
    model: Model,
}

/// Few names, so that they meet.
fn named(number: u8) -> Name {
    name(["a", "b", "c", "d"][usize::from(number % 4)])
}

impl Pair {
    fn new(hashes: u64) -> Self {
        let world = World::with_hashes(hashes);
        let model = Model::new(world.caller);
        Self { world, model }
    }

    /// Any inode, one in sixteen times one that does not exist.
    fn any(&self, number: u8) -> Inode {
        let at = usize::from(number / 16) * 7 + usize::from(number);
        if number % 16 == 15 {
            return Inode::new(999);
        }
        *self.model.nodes.keys().nth(at % self.model.nodes.len()).expect("the root is there")
    }

    /// Mostly an inode of this type.
    fn of_kind(&self, number: u8, kind: FileKind) -> Inode {
        let fits = |inode: &Inode| self.model.attributes(*inode).is_ok_and(|found| found.kind == kind);
        let inodes: Vec<_> = self.model.nodes.keys().copied().filter(fits).collect();
        if number % 8 == 7 || inodes.is_empty() {
            self.any(number)
        } else {
            inodes[usize::from(number) % inodes.len()]
        }
    }

    fn directory(&self, number: u8) -> Inode {
        self.of_kind(number, FileKind::Directory)
    }

    /// Mostly a name that the directory has.
    fn existing(&self, parent: Inode, number: u8) -> Name {
        let names = self.model.nodes.get(&parent).map(|node| node.entries.keys().collect::<Vec<_>>());
        match names.unwrap_or_default() {
            names if number % 8 != 7 && !names.is_empty() => names[usize::from(number) % names.len()].clone(),
            _ => named(number),
        }
    }

    fn op(&mut self, step: &Step) -> MetaOp {
        match *step {
            Step::Make { parent, name, node, modes: (mode, umask) } => {
                let node = match node % 10 {
                    0..3 => NewNode::File,
                    3..7 => NewNode::Directory,
                    7 => NewNode::Symlink { target: ByteVec::from(vec![b't'; usize::from(name) + 1]) },
                    8 => NewNode::Fifo,
                    _ => NewNode::CharDevice(u32::from(name)),
                };
                let parent = self.directory(parent);
                MetaOp::MakeNode(MakeNode { parent, name: named(name), node, mode, umask })
            }
            Step::MakeUnnamed { parent, modes: (mode, umask) } => {
                MetaOp::MakeUnnamed(MakeUnnamed { parent: self.directory(parent), mode, umask })
            }
            Step::SetAccessed { inode, at } => {
                let accessed = Some(TimeChange::At(super::world::at(at)));
                let changes = AttributeChanges { accessed, ..AttributeChanges::default() };
                MetaOp::SetAttributes { inode: self.any(inode), changes }
            }
            Step::Accessed { ref inodes, at } => {
                let access = |inode: &u8| Access { inode: self.any(*inode), at: super::world::at(at) };
                MetaOp::Accessed(inodes.iter().map(access).collect())
            }
            Step::Unlink { parent, name } => {
                let parent = self.directory(parent);
                MetaOp::Unlink { parent, name: self.existing(parent, name) }
            }
            Step::RemoveDirectory { parent, name } => {
                let parent = self.directory(parent);
                MetaOp::RemoveDirectory { parent, name: self.existing(parent, name) }
            }
            Step::Link { inode, parent, name } => {
                MetaOp::Link { inode: self.any(inode), parent: self.directory(parent), name: named(name) }
            }
            Step::Rename { parent, name, new_parent, new_name, mode } => {
                let (parent, new_parent) = (self.directory(parent), self.directory(new_parent));
                let name = self.existing(parent, name);
                let exchange = mode == RenameMode::Exchange;
                let new_name = if exchange { self.existing(new_parent, new_name) } else { named(new_name) };
                MetaOp::Rename(Rename { parent, name, new_parent, new_name, mode })
            }
            Step::Resize { file, size } => {
                let changes = AttributeChanges { size: Some(size), ..AttributeChanges::default() };
                MetaOp::SetAttributes { inode: self.of_kind(file, FileKind::File), changes }
            }
            Step::SetAttributes { inode, mode, owner: (uid, gid), kill } => {
                // Without any change nothing is changed, times included; another test says so.
                let mode = if uid.or(gid).is_none() { mode.or(Some(0o700)) } else { mode };
                let kill_privileges = kill;
                let changes =
                    AttributeChanges { mode, uid, gid, kill_privileges, ..AttributeChanges::default() };
                MetaOp::SetAttributes { inode: self.any(inode), changes }
            }
            Step::SetXattr { inode, name, len, mode } => MetaOp::SetXattr(SetXattr {
                inode: self.any(inode),
                name: named(name).as_bytes().to_vec().into(),
                value: vec![7; len].into(),
                mode,
                kill_set_group_id: false,
            }),
            Step::RemoveXattr { inode, name } => {
                MetaOp::RemoveXattr { inode: self.any(inode), name: named(name).as_bytes().to_vec().into() }
            }
            Step::Commit { file, ref parts, size_min, timed, set: (mode, uid) } => {
                let inode = self.of_kind(file, FileKind::File);
                let extents =
                    parts.iter().map(|(offset, len)| self.world.extent(inode, *offset, *len)).collect();
                let modified = timed.then(|| super::world::at(self.model.now - 1));
                let changes = AttributeChanges { mode, uid, ..AttributeChanges::default() };
                let attributes = Some(changes).filter(|changes| *changes != AttributeChanges::default());
                MetaOp::Commit(Commit { inode, extents, size_min, modified, attributes })
            }
            Step::Allocate { file, mode, offset, len } => {
                let (inode, offset) = (self.of_kind(file, FileKind::File), FileOffset::new(offset));
                MetaOp::Allocate(Allocate { inode, mode, offset, len })
            }
            Step::CopyRange { from, from_offset, to, to_offset, len } => {
                let file = |number| self.of_kind(number, FileKind::File);
                let (from, to) = (file(from), file(to));
                let (from_offset, to_offset) = (FileOffset::new(from_offset), FileOffset::new(to_offset));
                MetaOp::CopyRange(CopyRange { from, from_offset, to, to_offset, len })
            }
            Step::Reap { inode } => {
                let orphans = self.model.orphans();
                let orphan = orphans.get(usize::from(inode) % orphans.len().max(1)).copied();
                MetaOp::Reap { inodes: vec![orphan.unwrap_or_else(|| self.any(inode))] }
            }
            Step::NewSession { .. } => MetaOp::Reap { inodes: Vec::new() },
        }
    }

    fn take(&mut self, step: &Step) {
        self.world.now += 1;
        self.model.now += 1;
        if let Step::NewSession { budget } = step {
            self.new_session(*budget);
        }
        let op = self.op(step);
        let before = self.all();
        let answer = self.world.run(&op);
        assert_eq!(answer.clone().map(unchanged), self.model.apply(&op), "{op:?}");
        if let Ok(reply) = answer {
            self.compare_touched(&op, &reply, &before);
        }
        invariants::check(&self.world.rows, self.world.names);
    }

    fn all(&mut self) -> Vec<Attributes> {
        let inodes: Vec<_> = self.model.nodes.keys().copied().collect();
        inodes.into_iter().map(|inode| self.world.attributes(inode)).collect()
    }

    /// Of an operation on names whoever asked for it knows all that it changed.
    fn compare_touched(&mut self, op: &MetaOp, reply: &MetaReply, before: &[Attributes]) {
        let touched = self.world.touched(op);
        for attributes in &touched {
            assert_eq!(*attributes, self.world.attributes(attributes.inode), "{op:?}");
        }
        let told = match reply {
            MetaReply::Attributes(attributes) => Some(attributes),
            MetaReply::Opened(opened) => Some(&opened.attributes),
            MetaReply::Covered(covered) => Some(&covered.attributes),
            MetaReply::Removed(removed) => Some(&removed.attributes),
            MetaReply::Renamed { replaced } => replaced.as_ref().map(|removed| &removed.attributes),
            _ => return,
        };
        let known: Vec<_> = touched.iter().chain(told).map(|attributes| attributes.inode).collect();
        for earlier in before.iter().filter(|earlier| !known.contains(&earlier.inode)) {
            assert_eq!(*earlier, self.world.attributes(earlier.inode), "{op:?} changed it");
        }
    }

    /// The session ends; its orphans go, a few rows at a time.
    fn new_session(&mut self, budget: usize) {
        let next = session_id(self.world.session.to_bytes()[0].wrapping_add(1));
        assert_eq!(session::end(&mut self.world.rows, self.world.session, super::world::at(9)), Ok(true));
        self.world.session = next;
        session::open(&mut self.world.rows, next, &session_row(false));
        while self.world.work(budget) == Progress::More {
            invariants::check(&self.world.rows, self.world.names);
        }
        self.model.orphans().into_iter().for_each(|inode| self.model.reap(inode));
    }

    /// Everything that can be read is as in the model.
    fn compare(&mut self) {
        let inodes: Vec<_> = self.model.nodes.keys().copied().collect();
        for inode in inodes {
            let attributes = self.model.attributes(inode).expect("it is in the model");
            let found = self.world.run(&MetaOp::GetAttributes { inode }).map(unchanged);
            assert_eq!(found, Ok(MetaReply::Attributes(attributes.clone())));
            self.compare_xattrs(inode);
            match attributes.kind {
                FileKind::Directory => self.compare_directory(inode),
                FileKind::File => self.compare_bytes(inode),
                FileKind::Symlink => {
                    let target = self.model.nodes[&inode].target.clone();
                    let found = self.world.run(&MetaOp::ReadLink { inode });
                    assert_eq!(found, Ok(MetaReply::Target(target.into())));
                }
                _ => {}
            }
        }
        self.compare_extents();
    }

    fn compare_directory(&mut self, inode: Inode) {
        let node = self.model.nodes[&inode].clone();
        let mut found = list(&mut self.world, inode, 2);
        found.sort();
        let expected: Vec<_> = node.entries.clone().into_iter().collect();
        assert_eq!(found, expected);
        for (name, child) in node.entries {
            let expected = self.model.attributes(child).map(MetaReply::Attributes);
            for map_entries in [None, Some(2)] {
                let op = MetaOp::Lookup { parent: inode, name: Some(name.clone()), map_entries };
                let mut answer = self.world.run(&op);
                if let Ok(MetaReply::Found(found)) = answer {
                    self.compare_map(child, found.map);
                    answer = Ok(MetaReply::Attributes(found.attributes));
                }
                assert_eq!(answer.map(unchanged), expected);
            }
        }
        let found = self.world.run(&MetaOp::Lookup { parent: inode, name: None, map_entries: None });
        let expected = self.model.attributes(node.parent).map(MetaReply::Attributes);
        assert_eq!(found.map(unchanged), expected);
    }

    /// What came with a lookup is what is read by itself; its bytes are compared there.
    fn compare_map(&mut self, inode: Inode, map: MapPage) {
        let read = ReadMap { inode, from: 0, until: u64::MAX, limit: 99 };
        assert_eq!(self.world.run(&MetaOp::ReadMap(read)), Ok(MetaReply::Map(map)));
    }

    fn compare_bytes(&mut self, inode: Inode) {
        let expected = &self.model.nodes[&inode].bytes;
        let mut found: Vec<Byte> = vec![None; expected.len()];
        for (offset, len, extent, extent_offset) in self.world.map(inode, 3) {
            for i in 0..len {
                let byte = &mut found[offset as usize + i as usize];
                assert_eq!(*byte, None, "two runs have one byte");
                *byte = Some((ExtentSeq::new(extent), extent_offset + i));
            }
        }
        assert_eq!(&found, expected, "bytes of {inode}");
    }

    fn compare_xattrs(&mut self, inode: Inode) {
        let xattrs = self.model.nodes[&inode].xattrs.clone();
        let Ok(MetaReply::Names(mut names)) = self.world.run(&MetaOp::ListXattrs { inode }) else {
            panic!("no list")
        };
        names.sort();
        let expected: Vec<ByteVec> = xattrs.keys().cloned().map(Into::into).collect();
        assert_eq!(names, expected);
        for (name, value) in xattrs {
            let found = self.world.run(&MetaOp::GetXattr { inode, name: name.into() });
            assert_eq!(found, Ok(MetaReply::Value(value.into())));
        }
        let missing = self.world.run(&MetaOp::GetXattr { inode, name: b"none".to_vec().into() });
        assert_eq!(missing, Err(MetaError::NoAttribute));
    }

    /// An extent is in use exactly while a file has a byte of it.
    fn compare_extents(&self) {
        let bytes = self.model.nodes.values().flat_map(|node| &node.bytes).flatten();
        let used: std::collections::BTreeSet<_> = bytes.map(|(seq, _)| seq.get()).collect();
        let rows: Vec<_> = crate::drop::extents(&self.world.rows, usize::MAX).expect("lists");
        for (id, _) in rows {
            let ExtentId { seq, .. } = id;
            let expected = if used.contains(&seq.get()) { ExtentState::InUse } else { ExtentState::Dead };
            assert_eq!(reclaim::state(&self.world.rows, id), Ok(expected), "{id}");
        }
    }
}

/// The reply without change counters, which only ever grow.
fn unchanged(mut reply: MetaReply) -> MetaReply {
    match &mut reply {
        MetaReply::Attributes(attributes) => attributes.change = 0,
        MetaReply::Opened(opened) => opened.attributes.change = 0,
        MetaReply::Covered(covered) => covered.attributes.change = 0,
        MetaReply::Removed(removed) => removed.attributes.change = 0,
        MetaReply::Renamed { replaced: Some(removed) } => removed.attributes.change = 0,
        _ => {}
    }
    reply
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// With few hashes every directory has rows of several names.
    #[test]
    fn any_sequence_does_what_the_model_does(
        hashes in prop_oneof![Just(1_u64), Just(3), Just(u64::MAX >> 2)],
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut pair = Pair::new(hashes);
        for step in &steps {
            pair.take(step);
        }
        pair.compare();
    }
}
