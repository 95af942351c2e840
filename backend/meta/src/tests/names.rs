//! Making, linking and removing.

use minicbor::bytes::ByteVec;
use weft_types::Inode;
use weft_wire::meta::{
    AttributeChanges, FileKind, MakeNode, MetaError, MetaOp, MetaReply, NewNode, SYMLINK_BYTES_MAX,
};

use super::invariants;
use super::world::{World, name};
use crate::transaction::{load_known, store};
use crate::{InodeRow, RowKey, limits};

fn symlink(bytes: &[u8]) -> NewNode {
    NewNode::Symlink { target: ByteVec::from(bytes.to_vec()) }
}

#[test]
fn a_new_filesystem_has_a_root() {
    let mut world = World::new();
    let root = world.attributes(Inode::ROOT);
    assert_eq!((root.kind, root.mode, root.links), (FileKind::Directory, 0o755, 2));
    assert_eq!((root.uid, root.gid, root.size), (0, 0, limits::DIRECTORY_SIZE));
    let parent = world.run(&MetaOp::Lookup { parent: Inode::ROOT, name: None, map_entries: None });
    assert_eq!(parent, Ok(MetaReply::Attributes(root)));
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_new_inode_is_its_callers() {
    let mut world = World::new();
    let nodes = [
        (NewNode::File, FileKind::File, 1, 0, 0),
        (NewNode::Directory, FileKind::Directory, 2, 4096, 0),
        (NewNode::Fifo, FileKind::Fifo, 1, 0, 0),
        (NewNode::Socket, FileKind::Socket, 1, 0, 0),
        (NewNode::CharDevice(259), FileKind::CharDevice, 1, 0, 259),
        (NewNode::BlockDevice(8), FileKind::BlockDevice, 1, 0, 8),
        (symlink(b"to"), FileKind::Symlink, 1, 2, 0),
    ];
    for (i, (node, kind, links, size, device)) in nodes.into_iter().enumerate() {
        let made = world.make(Inode::ROOT, &format!("n{i}"), node).expect("makes");
        assert_eq!((made.kind, made.links, made.size, made.device), (kind, links, size, device));
        assert_eq!((made.uid, made.gid), (10, 20));
        assert_eq!(made.mode, if kind == FileKind::Symlink { 0o777 } else { 0o755 });
        assert_eq!(world.attributes(made.inode), made);
    }
}

#[test]
fn a_set_group_id_directory_gives_its_group() {
    let mut world = World::new();
    let shared = world.directory(Inode::ROOT, "shared");
    let changes = AttributeChanges { mode: Some(0o2775), gid: Some(77), ..AttributeChanges::default() };
    world.run(&MetaOp::SetAttributes { inode: shared, changes }).expect("sets");
    let file = world.make(shared, "f", NewNode::File).expect("makes");
    assert_eq!((file.uid, file.gid, file.mode), (10, 77, 0o755));
    let below = world.make(shared, "d", NewNode::Directory).expect("makes");
    assert_eq!((below.gid, below.mode), (77, 0o2755));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    let long = vec![b'x'; SYMLINK_BYTES_MAX + 1];
    let rows = [
        (Inode::ROOT, "f", NewNode::Directory, MetaError::Exists),
        (file, "x", NewNode::File, MetaError::NotDirectory),
        (Inode::new(99), "x", NewNode::File, MetaError::NotFound),
        (Inode::ROOT, "x", symlink(b""), MetaError::NotFound),
        (Inode::ROOT, "x", symlink(b"a\0b"), MetaError::Invalid),
        (Inode::ROOT, "x", symlink(&long), MetaError::NameTooLong),
    ];
    for (parent, text, node, error) in rows {
        assert_eq!(world.make(parent, text, node), Err(error));
    }
    world.make(Inode::ROOT, "x", symlink(&long[1..])).expect("the longest target");
    let op = MakeNode { parent: Inode::ROOT, name: name("y"), node: NewNode::File, mode: 0o10000, umask: 0 };
    assert_eq!(world.run(&MetaOp::MakeNode(op)), Err(MetaError::Invalid));
}

#[test]
fn a_hard_link_is_for_living_files() {
    let mut world = World::new();
    let (file, directory) = (world.file(Inode::ROOT, "f"), world.directory(Inode::ROOT, "d"));
    let orphan = world.file(Inode::ROOT, "o");
    assert!(world.unlink(Inode::ROOT, "o").expect("unlinks").orphaned);
    let rows = [
        (file, Inode::ROOT, "f", Err(MetaError::Exists)),
        (directory, Inode::ROOT, "n", Err(MetaError::NotPermitted)),
        (orphan, Inode::ROOT, "n", Err(MetaError::NotFound)),
        (Inode::new(99), Inode::ROOT, "n", Err(MetaError::NotFound)),
        (file, file, "n", Err(MetaError::NotDirectory)),
        (file, directory, "n", Ok(2)),
    ];
    for (inode, parent, text, links) in rows {
        let op = MetaOp::Link { inode, parent, name: name(text) };
        assert_eq!(world.run(&op).map(|reply| super::world::attributes_of(reply).links), links);
    }
    assert_eq!(world.lookup(directory, "n"), Ok(file));
    invariants::check(&world.rows, world.names);
}

#[test]
fn links_end_somewhere() {
    let mut world = World::new();
    let (file, directory) = (world.file(Inode::ROOT, "f"), world.directory(Inode::ROOT, "d"));
    let most = [(file, limits::LINKS_MAX - 1), (directory, limits::DIRECTORY_LINKS_MAX - 1)];
    for (inode, links) in most {
        let mut row: InodeRow = load_known(&world.rows, RowKey::Inode(inode)).expect("a row");
        row.attributes.links = links;
        store(&mut world.rows, RowKey::Inode(inode), &row);
    }
    let link = |text| MetaOp::Link { inode: file, parent: Inode::ROOT, name: name(text) };
    world.run(&link("last")).expect("the last link");
    assert_eq!(world.run(&link("more")), Err(MetaError::TooManyLinks));
    world.directory(directory, "last");
    assert_eq!(world.make(directory, "more", NewNode::Directory), Err(MetaError::TooManyLinks));
    world.file(directory, "a file takes no link");
}

#[test]
fn what_is_removed_must_be_of_its_kind() {
    let mut world = World::new();
    let directory = world.directory(Inode::ROOT, "d");
    let file = world.file(directory, "f");
    let unlink = |parent, text| MetaOp::Unlink { parent, name: name(text) };
    let remove = |parent, text| MetaOp::RemoveDirectory { parent, name: name(text) };
    let rows = [
        (unlink(Inode::ROOT, "d"), MetaError::IsDirectory),
        (unlink(Inode::ROOT, "none"), MetaError::NotFound),
        (unlink(file, "f"), MetaError::NotDirectory),
        (remove(Inode::ROOT, "d"), MetaError::NotEmpty),
        (remove(directory, "f"), MetaError::NotDirectory),
        (remove(Inode::ROOT, "none"), MetaError::NotFound),
    ];
    for (op, error) in rows {
        assert_eq!(world.run(&op), Err(error), "{op:?}");
    }
    world.unlink(directory, "f").expect("unlinks");
    let Ok(MetaReply::Removed(removed)) = world.run(&remove(Inode::ROOT, "d")) else { panic!("not removed") };
    assert!(removed.orphaned && removed.attributes.links == 0);
    assert_eq!(world.attributes(Inode::ROOT).links, 2);
}

#[test]
fn an_orphan_serves_until_it_is_reaped() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    world.commit(file, &[(0, 100)]).expect("an open file is written");
    assert_eq!(world.attributes(file).size, 100);
    world.run(&MetaOp::Reap { inodes: vec![file, file, Inode::ROOT] }).expect("reaps");
    assert_eq!(world.run(&MetaOp::GetAttributes { inode: file }), Err(MetaError::NotFound));
    assert_eq!(world.run(&MetaOp::Open { inode: file }), Err(MetaError::NotFound));
    assert!(world.rows.rows.keys().all(|key| key[0] != 6 && key[0] != 8), "no run and no key is left");
    invariants::check(&world.rows, world.names);
}
