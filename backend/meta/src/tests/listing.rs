//! Directories page by page.

use std::collections::BTreeSet;

use weft_types::Inode;
use weft_wire::meta::{DirectoryPage, ListDirectory, MetaError, MetaOp, MetaReply, Name, NewNode};

use super::world::{World, name};

fn page(world: &mut World, inode: Inode, after: u64, limit: u32) -> DirectoryPage {
    let op = ListDirectory { inode, after, limit, with_attributes: true };
    match world.run(&MetaOp::ListDirectory(op)) {
        Ok(MetaReply::Directory(page)) => page,
        other => panic!("no page: {other:?}"),
    }
}

/// All names of a directory with their inodes, in the order of the cookies.
pub(super) fn list(world: &mut World, inode: Inode, limit: u32) -> Vec<(Name, Inode)> {
    let (mut names, mut after) = (Vec::new(), 0);
    loop {
        let page = page(world, inode, after, limit);
        assert!(page.end || page.entries.last().is_some_and(|last| last.cookie > after), "it goes on");
        for entry in page.entries {
            assert!(entry.cookie >= after && entry.cookie > 2);
            let attributes = entry.attributes.expect("asked for");
            assert_eq!((attributes.inode, attributes.kind), (entry.inode, entry.kind));
            after = entry.cookie;
            names.push((entry.name, entry.inode));
        }
        if page.end {
            return names;
        }
    }
}

fn filled(world: &mut World, count: u32) {
    for i in 0..count {
        world.file(Inode::ROOT, &format!("f{i}"));
    }
}

#[test]
fn pages_of_any_size_show_every_name_once() {
    for hashes in [1, 7, u64::MAX >> 2] {
        let mut world = World::with_hashes(hashes);
        filled(&mut world, 50);
        for limit in [0, 1, 2, 7, 50, 51, u32::MAX] {
            let names = list(&mut world, Inode::ROOT, limit);
            let set: BTreeSet<_> = names.iter().collect();
            assert_eq!((names.len(), set.len()), (50, 50), "{hashes} hashes, pages of {limit}");
        }
    }
}

#[test]
fn a_name_that_stays_is_seen_once_whatever_comes_and_goes_between_pages() {
    let mut world = World::new();
    filled(&mut world, 40);
    let (mut seen, mut after, mut round) = (Vec::new(), 0, 0);
    loop {
        let page = page(&mut world, Inode::ROOT, after, 3);
        seen.extend(page.entries.iter().map(|entry| entry.name.clone()));
        after = page.entries.last().map_or(after, |entry| entry.cookie);
        if page.end {
            break;
        }
        world.unlink(Inode::ROOT, &format!("f{}", 20 + round)).expect("unlinks");
        world.file(Inode::ROOT, &format!("new{round}"));
        round += 1;
    }
    for i in 0..20 {
        let count = seen.iter().filter(|seen| **seen == name(&format!("f{i}"))).count();
        assert_eq!(count, 1, "f{i}");
    }
}

#[test]
fn names_that_share_a_hash_are_in_one_page_with_one_cookie() {
    let mut world = World::with_hashes(1);
    filled(&mut world, 5);
    let page = page(&mut world, Inode::ROOT, 0, 2);
    assert_eq!(page.entries.len(), 5);
    assert!(page.end && page.entries.iter().all(|entry| entry.cookie == page.entries[0].cookie));
}

#[test]
fn a_page_has_attributes_only_when_asked() {
    let mut world = World::new();
    filled(&mut world, 1);
    let op = ListDirectory { inode: Inode::ROOT, after: 0, limit: 9, with_attributes: false };
    let reply = world.run(&MetaOp::ListDirectory(op));
    assert!(matches!(reply, Ok(MetaReply::Directory(page)) if page.entries[0].attributes.is_none()));
}

#[test]
fn a_removed_directory_is_empty_and_a_file_is_none() {
    let mut world = World::new();
    let directory = world.directory(Inode::ROOT, "d");
    let file = world.file(Inode::ROOT, "f");
    world.run(&MetaOp::RemoveDirectory { parent: Inode::ROOT, name: name("d") }).expect("removes");
    assert_eq!(list(&mut world, directory, 9), []);
    let op = ListDirectory { inode: file, after: 0, limit: 9, with_attributes: false };
    assert_eq!(world.run(&MetaOp::ListDirectory(op)), Err(MetaError::NotDirectory));
    assert_eq!(world.make(directory, "x", NewNode::File), Err(MetaError::NotFound));
}
