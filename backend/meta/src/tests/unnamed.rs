//! Files that are made without a name.

use weft_types::Inode;
use weft_wire::meta::{Attributes, MakeUnnamed, MetaError, MetaOp, MetaReply};

use super::invariants;
use super::world::{World, at, attributes_of, name, session_id, session_row};
use crate::{Progress, session};

fn make(world: &mut World, parent: Inode) -> Result<Attributes, MetaError> {
    let op = MakeUnnamed { parent, mode: 0o666, umask: 0o027 };
    let made = world.run(&MetaOp::MakeUnnamed(op)).map(attributes_of);
    invariants::check(&world.rows, world.names);
    made
}

fn link(world: &mut World, inode: Inode, text: &str) -> Result<Attributes, MetaError> {
    let op = MetaOp::Link { inode, parent: Inode::ROOT, name: name(text) };
    let linked = world.run(&op).map(attributes_of);
    invariants::check(&world.rows, world.names);
    linked
}

#[test]
fn a_file_without_a_name_gets_its_first_one_by_a_link_and_no_other_that_way() {
    let mut world = World::new();
    let made = make(&mut world, Inode::ROOT).expect("makes");
    assert_eq!((made.links, made.mode), (0, 0o640));
    assert!(!world.touched(&MetaOp::GetSpace).iter().any(|touched| touched.inode == Inode::ROOT));
    world.commit(made.inode, &[(0, 10)]).expect("commits");
    assert_eq!(link(&mut world, made.inode, "a").expect("links").links, 1);
    assert_eq!(world.lookup(Inode::ROOT, "a"), Ok(made.inode));
    assert_eq!(link(&mut world, made.inode, "b").expect("links").links, 2);
    world.unlink(Inode::ROOT, "a").expect("unlinks");
    assert!(world.unlink(Inode::ROOT, "b").expect("unlinks").orphaned);
    assert_eq!(link(&mut world, made.inode, "c"), Err(MetaError::NotFound), "what was unlinked stays so");
}

#[test]
fn a_file_without_a_name_goes_when_it_is_closed_and_with_its_session() {
    let mut world = World::new();
    let closed = make(&mut world, Inode::ROOT).expect("makes").inode;
    let left = make(&mut world, Inode::ROOT).expect("makes").inode;
    let kept = make(&mut world, Inode::ROOT).expect("makes").inode;
    link(&mut world, kept, "kept").expect("links");
    assert_eq!(world.run(&MetaOp::Reap { inodes: vec![closed, kept] }), Ok(MetaReply::Done));
    assert_eq!(world.run(&MetaOp::GetAttributes { inode: closed }), Err(MetaError::NotFound));
    session::end(&mut world.rows, world.session, at(9)).expect("ends");
    world.session = session_id(2);
    session::open(&mut world.rows, world.session, &session_row(false));
    assert_eq!(link(&mut world, left, "late"), Err(MetaError::NotFound), "of another session");
    while world.work(1) == Progress::More {}
    assert_eq!(world.run(&MetaOp::GetAttributes { inode: left }), Err(MetaError::NotFound));
    assert_eq!(world.lookup(Inode::ROOT, "kept"), Ok(kept));
}

#[test]
fn it_takes_a_directory_that_lives() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    assert_eq!(make(&mut world, file), Err(MetaError::NotDirectory));
    let gone = world.directory(Inode::ROOT, "d");
    world.run(&MetaOp::RemoveDirectory { parent: Inode::ROOT, name: name("d") }).expect("removes");
    assert_eq!(make(&mut world, gone), Err(MetaError::NotFound));
}
