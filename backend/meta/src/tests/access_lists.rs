//! Access lists: what they do to modes, and what new inodes begin with.

use weft_types::Inode;
use weft_wire::meta::{
    AttributeChanges, Attributes, MakeNode, MetaError, MetaOp, MetaReply, NewNode, SetXattr, XattrMode,
};

use super::invariants;
use super::world::{World, attributes_of, name};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A list of the owner, user 1000, the group, a mask unless it is absent, and others.
fn list(permissions: [u8; 3], user: u8, mask: Option<u8>) -> Vec<u8> {
    let [owner, group, other] = permissions;
    let mut entries = vec![(1, owner, u32::MAX)];
    entries.extend(mask.map(|_| (2, user, 1000)));
    entries.push((4, group, u32::MAX));
    entries.extend(mask.map(|mask| (16, mask, u32::MAX)));
    entries.push((32, other, u32::MAX));
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in entries {
        bytes.extend([tag, 0, permissions, 0]);
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

fn set(
    world: &mut World,
    inode: Inode,
    name: &str,
    value: &[u8],
    kill: bool,
) -> Result<MetaReply, MetaError> {
    let op = SetXattr {
        inode,
        name: name.as_bytes().to_vec().into(),
        value: value.to_vec().into(),
        mode: XattrMode::Any,
        kill_set_group_id: kill,
    };
    let answer = world.run(&MetaOp::SetXattr(op));
    invariants::check(&world.rows, world.names);
    answer
}

fn get(world: &mut World, inode: Inode, name: &str) -> Option<Vec<u8>> {
    match world.run(&MetaOp::GetXattr { inode, name: name.as_bytes().to_vec().into() }) {
        Ok(MetaReply::Value(value)) => Some(value.into()),
        Err(MetaError::NoAttribute) => None,
        other => panic!("neither a value nor none: {other:?}"),
    }
}

fn chmod(world: &mut World, inode: Inode, mode: u16) -> Attributes {
    let changes = AttributeChanges { mode: Some(mode), ..AttributeChanges::default() };
    attributes_of(world.run(&MetaOp::SetAttributes { inode, changes }).expect("sets"))
}

fn make(world: &mut World, parent: Inode, text: &str, node: NewNode) -> (Attributes, bool) {
    let op = MetaOp::MakeNode(MakeNode { parent, name: name(text), node, mode: 0o2766, umask: 0o077 });
    let reply = world.run(&op).expect("makes");
    invariants::check(&world.rows, world.names);
    let inherited = crate::inherited(&world.rows, &op, &reply).expect("sound rows");
    (attributes_of(reply), inherited)
}

#[test]
fn an_access_list_sets_the_mode_and_follows_it() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    chmod(&mut world, file, 0o2700);
    set(&mut world, file, ACCESS, &list([6, 7, 1], 7, Some(5)), false).expect("sets");
    assert_eq!(world.attributes(file).mode, 0o2651, "the mask is the group's");
    chmod(&mut world, file, 0o2724);
    assert_eq!(get(&mut world, file, ACCESS), Some(list([7, 7, 4], 7, Some(2))));
    set(&mut world, file, ACCESS, &list([6, 4, 4], 0, None), true).expect("sets");
    assert_eq!(world.attributes(file).mode, 0o644, "and set-group-id is taken off");
    assert_eq!(get(&mut world, file, ACCESS), None, "a mode says all of it");
    set(&mut world, file, ACCESS, &list([6, 7, 1], 7, Some(5)), false).expect("sets");
    for _ in 0..2 {
        let op = MetaOp::RemoveXattr { inode: file, name: ACCESS.as_bytes().to_vec().into() };
        assert_eq!(world.run(&op), Ok(MetaReply::Done), "also when there is none");
        assert_eq!((get(&mut world, file, ACCESS), world.attributes(file).mode), (None, 0o651));
    }
}

#[test]
fn what_has_no_such_list_is_refused() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    let target = NewNode::Symlink { target: b"to".to_vec().into() };
    let link = world.make(Inode::ROOT, "l", target).expect("makes").inode;
    let good = list([7, 5, 5], 7, Some(7));
    let rows = [
        (file, DEFAULT, &good[..], MetaError::NotPermitted),
        (link, ACCESS, &good, MetaError::NotPermitted),
        (file, ACCESS, &good[..20], MetaError::Invalid),
        (file, ACCESS, b"", MetaError::Invalid),
        (Inode::ROOT, DEFAULT, b"no list", MetaError::Invalid),
    ];
    for (inode, name, value, error) in rows {
        assert_eq!(set(&mut world, inode, name, value, false), Err(error), "{name} of {inode}");
    }
}

#[test]
fn new_inodes_begin_with_what_a_default_list_and_their_mode_allow() {
    let mut world = World::new();
    let above = world.directory(Inode::ROOT, "d");
    let (plain, inherited) = make(&mut world, above, "plain", NewNode::File);
    assert_eq!((plain.mode, inherited), (0o2700, false), "the umask counts");
    let before = world.attributes(above).mode;
    let default = list([7, 5, 1], 3, Some(6));
    set(&mut world, above, DEFAULT, &default, false).expect("sets");
    assert_eq!(world.attributes(above).mode, before);
    let (file, inherited) = make(&mut world, above, "f", NewNode::File);
    assert_eq!((file.mode, inherited), (0o2760, true), "the umask does not");
    assert_eq!(get(&mut world, file.inode, ACCESS), Some(list([7, 5, 0], 3, Some(6))));
    assert_eq!(get(&mut world, file.inode, DEFAULT), None);
    let (below, _) = make(&mut world, above, "e", NewNode::Directory);
    assert_eq!(get(&mut world, below.inode, DEFAULT), Some(default.clone()));
    let (fifo, _) = make(&mut world, below.inode, "p", NewNode::Fifo);
    assert_eq!(get(&mut world, fifo.inode, ACCESS), Some(list([7, 5, 0], 3, Some(6))));
    let (link, inherited) = make(&mut world, above, "l", NewNode::Symlink { target: b"to".to_vec().into() });
    assert_eq!((link.mode, inherited), (0o777, false));
    // Without users and groups the mode says all of it, but subdirectories go on.
    set(&mut world, above, DEFAULT, &list([7, 5, 5], 0, None), false).expect("sets");
    let (file, inherited) = make(&mut world, above, "g", NewNode::File);
    assert_eq!((file.mode, inherited), (0o2744, false));
    let (below, inherited) = make(&mut world, above, "h", NewNode::Directory);
    assert_eq!((below.mode, inherited), (0o2744, true));
    set(&mut world, above, DEFAULT, &[2, 0, 0, 0], false).expect("a list without entries");
    assert_eq!(get(&mut world, above, DEFAULT), None);
}
