//! The rules of rename, one by one.

use weft_types::Inode;
use weft_wire::meta::{FileKind, MetaError, MetaOp, MetaReply, NewNode, Removed, Rename, RenameMode};

use super::invariants;
use super::world::{World, name};

use MetaError::{Exists, Invalid, IsDirectory, NotDirectory, NotEmpty, NotFound};
use RenameMode::{Exchange, NoReplace, Replace};

/// A tree: files `f` and `g` (`h` is another name of `f`), directories `d` (with `d/e` and in it `d/e/f`), `x`
/// (empty), `y` (with `y/f`).
fn tree() -> World {
    let mut world = World::new();
    let root = Inode::ROOT;
    let f = world.file(root, "f");
    world.file(root, "g");
    world.run(&MetaOp::Link { inode: f, parent: root, name: name("h") }).expect("links");
    let d = world.directory(root, "d");
    let e = world.directory(d, "e");
    world.file(e, "f");
    world.directory(root, "x");
    let y = world.directory(root, "y");
    world.file(y, "f");
    world
}

/// The directory and the last name of a path.
fn place(world: &mut World, path: &str) -> (Inode, String) {
    let (directory, last) = path.rsplit_once('/').unwrap_or(("", path));
    let parts = directory.split('/').filter(|part| !part.is_empty());
    let parent = parts.fold(Inode::ROOT, |at, part| world.lookup(at, part).expect("a directory"));
    (parent, last.to_owned())
}

fn at(world: &mut World, path: &str) -> Result<Inode, MetaError> {
    let (parent, last) = place(world, path);
    world.lookup(parent, &last)
}

fn rename(world: &mut World, from: &str, to: &str, mode: RenameMode) -> Result<Option<Removed>, MetaError> {
    world.now += 1;
    let ((parent, from), (new_parent, to)) = (place(world, from), place(world, to));
    let op = Rename { parent, name: name(&from), new_parent, new_name: name(&to), mode };
    world.run(&MetaOp::Rename(op)).map(|reply| match reply {
        MetaReply::Renamed { replaced } => replaced,
        other => panic!("not renamed: {other:?}"),
    })
}

#[test]
fn what_may_not_move_stays() {
    let rows = [
        ("none", "new", Replace, NotFound),
        ("none", "f", NoReplace, NotFound),
        ("f", "d", Replace, IsDirectory),
        ("f", "x", Replace, IsDirectory),
        ("x", "f", Replace, NotDirectory),
        ("x", "y", Replace, NotEmpty),
        ("d/e", "d", Replace, NotEmpty),
        ("d/e/f", "d", Replace, IsDirectory),
        ("d", "d/new", Replace, Invalid),
        ("d", "d/e", Replace, Invalid),
        ("d", "d/e/f", Replace, Invalid),
        ("d", "d/e/new", Replace, Invalid),
        ("d", "d/e/new", NoReplace, Invalid),
        ("f", "g", NoReplace, Exists),
        ("f", "f", NoReplace, Exists),
        ("f", "h", NoReplace, Exists),
        ("d", "d/e", NoReplace, Exists),
        ("f", "new", Exchange, NotFound),
        ("d", "d/e", Exchange, Invalid),
        ("d/e", "d", Exchange, Invalid),
        ("d/e/f", "d", Exchange, Invalid),
    ];
    for (from, to, mode, error) in rows {
        let mut world = tree();
        let before = world.rows.clone();
        assert_eq!(rename(&mut world, from, to, mode), Err(error), "{from} to {to}, {mode:?}");
        assert_eq!(world.rows, before);
    }
}

#[test]
fn a_name_moves_with_what_is_behind_it() {
    let rows = [
        ("f", "new"),
        ("f", "y/new"),
        ("d", "new"),
        ("d", "x/new"),
        ("d/e", "e"),
        ("d/e/f", "y/g"),
        ("d", "y/d"),
    ];
    for (from, to) in rows {
        for mode in [Replace, NoReplace] {
            let mut world = tree();
            let inode = at(&mut world, from).expect("is there");
            assert_eq!(rename(&mut world, from, to, mode), Ok(None), "{from} to {to}");
            assert_eq!(at(&mut world, to), Ok(inode));
            assert_eq!(at(&mut world, from), Err(NotFound));
            let attributes = world.attributes(inode);
            assert_eq!(attributes.changed, super::world::at(2), "the inode's change time");
            assert_ne!(attributes.modified, attributes.changed);
            invariants::check(&world.rows, world.names);
        }
    }
}

#[test]
fn a_directory_that_moves_takes_its_link_along() {
    let mut world = tree();
    let (d, y) = (at(&mut world, "d").expect("d"), at(&mut world, "y").expect("y"));
    let links = |world: &mut World| [Inode::ROOT, d, y].map(|inode| world.attributes(inode).links);
    assert_eq!(links(&mut world), [5, 3, 2]);
    rename(&mut world, "d/e", "y/e", Replace).expect("moves");
    assert_eq!(links(&mut world), [5, 2, 3]);
    let e = at(&mut world, "y/e").expect("e");
    let parent = world.run(&MetaOp::Lookup { parent: e, name: None, map_entries: None });
    assert_eq!(parent.map(|reply| super::world::attributes_of(reply).inode), Ok(y));
}

#[test]
fn what_is_replaced_loses_its_name() {
    let mut world = tree();
    let g = at(&mut world, "g").expect("g");
    let removed = rename(&mut world, "f", "g", Replace).expect("replaces").expect("something was there");
    assert!(removed.orphaned);
    assert_eq!((removed.attributes.inode, removed.attributes.links), (g, 0));
    let f = at(&mut world, "g").expect("f is g now");
    let removed = rename(&mut world, "y/f", "h", Replace).expect("replaces").expect("something was there");
    assert!(!removed.orphaned, "f still has the name g");
    assert_eq!((removed.attributes.inode, removed.attributes.links), (f, 1));
    let removed = rename(&mut world, "d", "x", Replace).expect("replaces").expect("something was there");
    assert!(removed.orphaned && removed.attributes.kind == FileKind::Directory);
    assert_eq!(removed.attributes.links, 0);
    assert_eq!(world.attributes(Inode::ROOT).links, 4);
    invariants::check(&world.rows, world.names);
}

#[test]
fn two_names_of_one_inode_both_stay() {
    for (from, to, mode) in [
        ("f", "h", Replace),
        ("f", "f", Replace),
        ("f", "h", Exchange),
        ("d", "d", Replace),
        ("d", "d", Exchange),
    ] {
        let mut world = tree();
        let before = world.rows.clone();
        assert_eq!(rename(&mut world, from, to, mode), Ok(None));
        assert_eq!(world.rows, before);
    }
}

#[test]
fn an_exchange_swaps_files_and_directories() {
    for (one, other) in
        [("f", "g"), ("f", "y/f"), ("f", "d"), ("d/e", "x"), ("d/e", "y/f"), ("d", "x"), ("d/e", "g")]
    {
        let mut world = tree();
        let (first, second) = (at(&mut world, one).expect("one"), at(&mut world, other).expect("other"));
        assert_eq!(rename(&mut world, one, other, Exchange), Ok(None), "{one} and {other}");
        assert_eq!((at(&mut world, one), at(&mut world, other)), (Ok(second), Ok(first)));
        invariants::check(&world.rows, world.names);
    }
}

#[test]
fn nothing_moves_into_a_removed_directory() {
    let mut world = tree();
    let x = at(&mut world, "x").expect("x");
    world.run(&MetaOp::RemoveDirectory { parent: Inode::ROOT, name: name("x") }).expect("removes");
    for mode in [Replace, NoReplace, Exchange] {
        let op = Rename { parent: Inode::ROOT, name: name("f"), new_parent: x, new_name: name("f"), mode };
        assert_eq!(world.run(&MetaOp::Rename(op)), Err(NotFound));
    }
    assert_eq!(world.make(x, "new", NewNode::Directory), Err(NotFound));
}

#[test]
fn a_place_below_a_file_is_no_place() {
    let mut world = tree();
    let f = at(&mut world, "f").expect("f");
    let op = |parent, new_parent| {
        MetaOp::Rename(Rename { parent, name: name("g"), new_parent, new_name: name("n"), mode: Replace })
    };
    assert_eq!(world.run(&op(Inode::ROOT, f)), Err(NotDirectory));
    assert_eq!(world.run(&op(f, Inode::ROOT)), Err(NotDirectory));
}
