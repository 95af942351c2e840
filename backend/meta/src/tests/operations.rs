//! Attributes, and the operations that only read.

use weft_types::{ByteCount, Inode, Timestamp};
use weft_wire::meta::{
    Access, AttributeChanges, Attributes, MetaError, MetaOp, MetaReply, NewNode, Space, TimeChange,
};

use super::world::{World, at, attributes_of, key_bytes};

fn set(world: &mut World, inode: Inode, changes: AttributeChanges) -> Result<Attributes, MetaError> {
    world.run(&MetaOp::SetAttributes { inode, changes }).map(attributes_of)
}

fn mode(mode: u16) -> AttributeChanges {
    AttributeChanges { mode: Some(mode), ..AttributeChanges::default() }
}

#[test]
fn a_new_owner_takes_set_id_bits_off_a_file() {
    let uid = AttributeChanges { uid: Some(1), ..AttributeChanges::default() };
    let gid = AttributeChanges { gid: Some(1), ..AttributeChanges::default() };
    let both = AttributeChanges { mode: Some(0o6755), ..uid.clone() };
    let rows = [
        (0o6755, uid.clone(), 0o0755),
        (0o6755, gid.clone(), 0o0755),
        // Without group execution the bit means mandatory locking, as Linux has it.
        (0o6745, gid, 0o2745),
        (0o1777, uid, 0o1777),
        (0o0644, both, 0o0755),
    ];
    for (before, change, after) in rows {
        let mut world = World::new();
        let file = world.file(Inode::ROOT, "f");
        set(&mut world, file, mode(before)).expect("sets");
        assert_eq!(set(&mut world, file, change.clone()).expect("sets").mode, after, "{before:o}");
        set(&mut world, Inode::ROOT, mode(0o6755)).expect("sets");
        let expected = change.mode.unwrap_or(0o6755);
        assert_eq!(
            set(&mut world, Inode::ROOT, change).expect("sets").mode,
            expected,
            "a directory keeps them"
        );
    }
}

#[test]
fn times_are_set_to_the_clock_or_to_what_is_asked() {
    let mut world = World::new();
    world.now = 50;
    let early = Timestamp { seconds: -3, nanos: 999_999_999 };
    let changes = AttributeChanges {
        accessed: Some(TimeChange::At(early)),
        modified: Some(TimeChange::Now),
        ..AttributeChanges::default()
    };
    let root = set(&mut world, Inode::ROOT, changes).expect("sets");
    assert_eq!((root.accessed, root.modified, root.changed), (early, at(50), at(50)));
    assert_eq!((root.created, root.change), (at(1), 2));
    let nanos = Timestamp { seconds: 0, nanos: 1_000_000_000 };
    let changes = AttributeChanges { modified: Some(TimeChange::At(nanos)), ..AttributeChanges::default() };
    assert_eq!(set(&mut world, Inode::ROOT, changes), Err(MetaError::Invalid));
}

#[test]
fn a_truncation_sets_the_modification_time_unless_one_is_given() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    world.now = 8;
    let changes = AttributeChanges { size: Some(0), ..AttributeChanges::default() };
    let after = set(&mut world, file, changes.clone()).expect("sets");
    assert_eq!((after.modified, after.changed), (at(8), at(8)));
    let changes = AttributeChanges { modified: Some(TimeChange::At(at(3))), ..changes };
    assert_eq!(set(&mut world, file, changes).expect("sets").modified, at(3));
}

#[test]
fn no_change_changes_nothing_and_bad_modes_are_refused() {
    let mut world = World::new();
    let link =
        world.make(Inode::ROOT, "s", NewNode::Symlink { target: vec![b't'].into() }).expect("makes").inode;
    let before = world.rows.clone();
    world.now = 8;
    set(&mut world, Inode::ROOT, AttributeChanges::default()).expect("does nothing");
    assert_eq!(set(&mut world, Inode::ROOT, mode(0o10000)), Err(MetaError::Invalid));
    assert_eq!(set(&mut world, link, mode(0o700)), Err(MetaError::NotPermitted));
    assert_eq!(set(&mut world, Inode::new(99), mode(0o700)), Err(MetaError::NotFound));
    assert_eq!(world.rows, before);
}

#[test]
fn names_change_their_directories_times() {
    let mut world = World::new();
    let directory = world.directory(Inode::ROOT, "d");
    world.now = 4;
    world.file(directory, "f");
    let after = world.attributes(directory);
    assert_eq!((after.modified, after.changed, after.accessed), (at(4), at(4), at(1)));
    world.now = 6;
    let removed = world.unlink(directory, "f").expect("unlinks").attributes;
    assert_eq!((removed.changed, removed.modified), (at(6), at(4)));
    assert_eq!(world.attributes(directory).modified, at(6));
}

#[test]
fn a_lookup_needs_a_directory_and_a_name() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    assert_eq!(world.lookup(Inode::ROOT, "f"), Ok(file));
    assert_eq!(world.lookup(Inode::ROOT, "none"), Err(MetaError::NotFound));
    assert_eq!(world.lookup(file, "f"), Err(MetaError::NotDirectory));
    assert_eq!(world.lookup(Inode::new(99), "f"), Err(MetaError::NotFound));
    assert_eq!(world.run(&MetaOp::ReadLink { inode: file }), Err(MetaError::Invalid));
}

#[test]
fn an_open_file_comes_with_its_key() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    let Ok(MetaReply::Opened(opened)) = world.run(&MetaOp::Open { inode: file }) else {
        panic!("not opened")
    };
    assert_eq!(opened.attributes, world.attributes(file));
    assert_eq!(opened.key.key.expose(), &key_bytes(opened.key.id));
}

#[test]
fn room_is_told_as_it_is() {
    let mut world = World::new();
    world.file(Inode::ROOT, "f");
    let space = Space {
        capacity: ByteCount::new(1000),
        free: ByteCount::new(600),
        inodes_used: 2,
        inodes_free: (1 << 48) - 3,
    };
    assert_eq!(world.run(&MetaOp::GetSpace), Ok(MetaReply::Space(space)));
}

#[test]
fn who_writes_without_privileges_takes_the_power_off_a_file() {
    let mut world = World::new();
    let (file, directory) = (world.file(Inode::ROOT, "f"), world.directory(Inode::ROOT, "d"));
    // Before, whether the caller is of the group, after.
    let rows =
        [(0o6777, true, 0o777), (0o6767, true, 0o2767), (0o6767, false, 0o767), (0o1644, false, 0o1644)];
    for (before, of_group, after) in rows {
        world.caller.gid = 20;
        set(&mut world, file, mode(before)).expect("sets");
        world.caller.gid = if of_group { 20 } else { 21 };
        let kill = AttributeChanges { size: Some(3), kill_privileges: true, ..AttributeChanges::default() };
        assert_eq!(set(&mut world, file, kill).expect("shortens").mode, after, "{before:o}");
    }
    set(&mut world, directory, mode(0o6777)).expect("sets");
    let kill = AttributeChanges { kill_privileges: true, ..AttributeChanges::default() };
    assert_eq!(set(&mut world, directory, kill).expect("nothing to do").mode, 0o6777);
}

#[test]
fn an_access_changes_one_time_and_only_forward() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    let before = world.attributes(file);
    let accessed = |world: &mut World, seconds| {
        let gone = Access { inode: Inode::new(99), at: at(seconds) };
        let op = MetaOp::Accessed(vec![gone, Access { inode: file, at: at(seconds) }]);
        assert_eq!(world.run(&op), Ok(MetaReply::Done));
        world.attributes(file)
    };
    assert_eq!(accessed(&mut world, 50), Attributes { accessed: at(50), ..before.clone() });
    assert_eq!(accessed(&mut world, 40).accessed, at(50));
    // What somebody sets counts against what was read before that, and was told late.
    world.now = 60;
    let early = AttributeChanges { accessed: Some(TimeChange::At(at(7))), ..AttributeChanges::default() };
    set(&mut world, file, early).expect("sets");
    assert_eq!(accessed(&mut world, 59).accessed, at(7));
    world.now = 70;
    let mode = AttributeChanges { mode: Some(0o600), ..AttributeChanges::default() };
    set(&mut world, file, mode).expect("sets");
    assert_eq!(accessed(&mut world, 61).accessed, at(61), "another change is no reason to forget a read");
}
