//! Rows that are not as they were written never make an operation panic.

use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use weft_types::{Inode, SlotId, SlotSeq};
use weft_wire::meta::{
    AttributeChanges, ListDirectory, MetaOp, NewNode, ReadMap, Rename, RenameMode, SetXattr, XattrMode,
};

use super::world::{Keys, World, at, name};
use crate::{
    CountersRow, DataKeyRow, DentryRow, ExtentRow, InodeRow, MapRow, ReapingRow, SessionRow, SlotRow,
    SymlinkRow, XattrRow, continue_work, slot,
};

/// A world with a row of every kind.
fn populated() -> World {
    let mut world = World::with_hashes(2);
    let directory = world.directory(Inode::ROOT, "d");
    let file = world.file(directory, "f");
    world.commit(file, &[(0, 10), (20, 10)]).expect("commits");
    world.commit(file, &[(5, 10)]).expect("commits");
    world.make(Inode::ROOT, "s", NewNode::Symlink { target: ByteVec::from(b"t".to_vec()) }).expect("makes");
    set_xattr(&mut world, file);
    world.file(Inode::ROOT, "gone");
    let removed = world.unlink(Inode::ROOT, "gone").expect("unlinks");
    slot::record(
        &mut world.rows,
        world.session,
        SlotId::new(0),
        SlotSeq::new(1),
        &Ok(weft_wire::meta::MetaReply::Removed(removed)),
    );
    world
}

fn set_xattr(world: &mut World, inode: Inode) {
    let op = SetXattr {
        inode,
        name: b"user.a".to_vec().into(),
        value: b"v".to_vec().into(),
        mode: XattrMode::Any,
        kill_set_group_id: false,
    };
    // Refused when the rows are damaged.
    let _ = world.run(&MetaOp::SetXattr(op));
}

/// Every operation on everything, with whatever answer.
fn touch_everything(world: &mut World) {
    let mut ops = vec![MetaOp::GetSpace, MetaOp::Reap { inodes: (1..9).map(Inode::new).collect() }];
    for inode in (1..7).map(Inode::new) {
        set_xattr(world, inode);
        let names = ["d", "f", "s", "gone", "new"].map(name);
        let size = |size| AttributeChanges { size: Some(size), uid: Some(1), ..AttributeChanges::default() };
        ops.extend([
            MetaOp::GetAttributes { inode },
            MetaOp::Lookup { parent: inode, name: None, map_entries: None },
            MetaOp::SetAttributes { inode, changes: size(7) },
            MetaOp::SetAttributes { inode, changes: size(700) },
            MetaOp::ReadLink { inode },
            MetaOp::ListDirectory(ListDirectory { inode, after: 0, limit: 9, with_attributes: true }),
            MetaOp::ListXattrs { inode },
            MetaOp::GetXattr { inode, name: b"user.a".to_vec().into() },
            MetaOp::RemoveXattr { inode, name: b"user.a".to_vec().into() },
            MetaOp::Open { inode },
            MetaOp::ReadMap(ReadMap { inode, from: 0, until: u64::MAX, limit: 99 }),
        ]);
        for name in names {
            for map_entries in [None, Some(9)] {
                ops.push(MetaOp::Lookup { parent: inode, name: Some(name.clone()), map_entries });
            }
            let new_name = super::world::name("moved");
            let (parent, new_parent) = (inode, Inode::ROOT);
            let mode = RenameMode::Replace;
            ops.push(MetaOp::Rename(Rename { parent, name: name.clone(), new_parent, new_name, mode }));
            ops.push(MetaOp::Link { inode, parent: Inode::ROOT, name: name.clone() });
            ops.push(MetaOp::RemoveDirectory { parent: inode, name: name.clone() });
            ops.push(MetaOp::Unlink { parent: inode, name });
        }
    }
    for op in ops {
        let _ = world.run(&op);
        for inode in (3..5).map(Inode::new) {
            let _ = world.commit(inode, &[(2, 3)]);
        }
        let _ = world.make(Inode::ROOT, "made", NewNode::File);
    }
    let _ = slot::replay(&world.rows, &Keys, world.session, SlotId::new(0), SlotSeq::new(1));
    let _ = crate::session::end(&mut world.rows, world.session, at(9));
    for _ in 0..9 {
        let _ = continue_work(&mut world.rows, at(9), 3);
    }
}

/// Replaces some bytes, cuts the end off, or puts the largest number where a small one was.
fn damage(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    let at = at % (bytes.len() + 1);
    let until = (at + with.len()).min(bytes.len());
    bytes.splice(at..until, with.iter().copied());
}

fn patch() -> impl Strategy<Value = Vec<u8>> {
    let largest = [&[0x1b][..], &[0xff; 8]].concat();
    let largest_signed = [&[0x1b, 0x7f][..], &[0xff; 7]].concat();
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        Just(largest),
        Just(largest_signed),
        Just(vec![0x1a, 0xff, 0xff, 0xff, 0xff]),
        Just(vec![0x00]),
        Just(vec![0xf6]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_row_makes_an_operation_panic(
        row in any::<proptest::sample::Index>(),
        patches in proptest::collection::vec((any::<usize>(), patch()), 1..3),
    ) {
        let mut world = populated();
        let mut rows = world.rows.rows.values_mut().filter(|value| !value.is_empty()).collect::<Vec<_>>();
        let value = row.get_mut(&mut rows);
        for (at, with) in &patches {
            damage(value, *at, with);
        }
        touch_everything(&mut world);
    }

    #[test]
    fn no_number_at_its_largest_makes_an_operation_panic(row in any::<proptest::sample::Index>(), at: usize) {
        let mut world = populated();
        let mut rows = world.rows.rows.values_mut().filter(|value| !value.is_empty()).collect::<Vec<_>>();
        let value = row.get_mut(&mut rows);
        // One byte, most often a small number, becomes a number of nine bytes.
        let at = at % value.len();
        value.splice(at..=at, [0x1b].into_iter().chain([0xff; 8]));
        touch_everything(&mut world);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fn seen<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) {
            let _ = minicbor::decode::<T>(bytes);
        }
        seen::<CountersRow>(&bytes);
        seen::<InodeRow>(&bytes);
        seen::<DentryRow>(&bytes);
        seen::<XattrRow>(&bytes);
        seen::<SymlinkRow>(&bytes);
        seen::<MapRow>(&bytes);
        seen::<ExtentRow>(&bytes);
        seen::<DataKeyRow>(&bytes);
        seen::<ReapingRow>(&bytes);
        seen::<SessionRow>(&bytes);
        seen::<SlotRow>(&bytes);
    }
}
