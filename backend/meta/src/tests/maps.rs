//! Commits, truncations and the map they leave.

use weft_types::{ByteCount, Epoch, FileOffset, GroupId, Inode};
use weft_wire::meta::{
    AttributeChanges, Commit, ENTRIES_MAX, FOUND_ENTRIES_MAX, MetaError, MetaOp, MetaReply, NewNode, ReadMap,
    TimeChange,
};

use super::invariants;
use super::world::{GROUP_EPOCH, World, at, attributes_of, geometry, name, session_id};
use crate::reclaim::{self, ExtentState};
use crate::{limits, session};

fn file() -> (World, Inode) {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    (world, file)
}

fn resize(world: &mut World, inode: Inode, size: u64) -> Result<MetaReply, MetaError> {
    let changes = AttributeChanges { size: Some(size), ..AttributeChanges::default() };
    world.run(&MetaOp::SetAttributes { inode, changes })
}

#[test]
fn a_commit_replaces_what_it_covers() {
    // First (0, 100) as extent 1, then the commit in the row as extent 2.
    type Runs = &'static [(u64, u32, u64, u32)];
    let rows: [((u64, u64), Runs); 7] = [
        ((0, 100), &[(0, 100, 2, 0)]),
        ((0, 40), &[(0, 40, 2, 0), (40, 60, 1, 40)]),
        ((60, 40), &[(0, 60, 1, 0), (60, 40, 2, 0)]),
        ((30, 10), &[(0, 30, 1, 0), (30, 10, 2, 0), (40, 60, 1, 40)]),
        ((90, 20), &[(0, 90, 1, 0), (90, 20, 2, 0)]),
        ((100, 5), &[(0, 100, 1, 0), (100, 5, 2, 0)]),
        ((200, 5), &[(0, 100, 1, 0), (200, 5, 2, 0)]),
    ];
    for (part, runs) in rows {
        let (mut world, file) = file();
        world.commit(file, &[(0, 100)]).expect("commits");
        let attributes = world.commit(file, &[part]).expect("commits");
        for page in [1, 2, 9] {
            assert_eq!(world.map(file, page), runs, "{part:?}");
        }
        assert_eq!(attributes.size, (part.0 + part.1).max(100));
        let mapped = runs.iter().map(|run| u64::from(run.1)).sum();
        assert_eq!(attributes.allocated, ByteCount::new(mapped));
        invariants::check(&world.rows, world.names);
    }
}

#[test]
fn a_commit_sets_times_and_counts_a_change() {
    let (mut world, file) = file();
    let before = world.attributes(file);
    world.now = 9;
    let extents = vec![world.extent(file, 0, 3)];
    let op = Commit { inode: file, extents, size_min: 3, modified: Some(at(7)), attributes: None };
    let after = attributes_of(world.run(&MetaOp::Commit(op)).expect("commits"));
    let changed = before.changed.max(at(7));
    assert_eq!((after.modified, after.changed, after.change), (at(7), changed, before.change + 1));
    let op = Commit { inode: file, extents: Vec::new(), size_min: 1, modified: None, attributes: None };
    let last = attributes_of(world.run(&MetaOp::Commit(op)).expect("commits"));
    assert_eq!((last.modified, last.size), (at(7), 3), "neither time nor length went back");
    assert_eq!(last.changed, changed, "a commit is no change by itself");
}

#[test]
fn a_commit_carries_what_was_set_of_the_file_meanwhile() {
    let (mut world, file) = file();
    let commit = |changes: AttributeChanges| {
        let attributes = Some(changes);
        MetaOp::Commit(Commit {
            inode: file,
            extents: Vec::new(),
            size_min: 3,
            modified: Some(at(7)),
            attributes,
        })
    };
    let none = AttributeChanges::default();
    let time = Some(TimeChange::At(at(2)));
    let changes = AttributeChanges { mode: Some(0o640), uid: Some(5), modified: time, ..none.clone() };
    let after = attributes_of(world.run(&commit(changes)).expect("commits"));
    assert_eq!((after.mode, after.uid, after.modified, after.size), (0o640, 5, at(2), 3));
    world.now = 20;
    let shown = AttributeChanges { mode: Some(0o600), made: Some(at(12)), ..none.clone() };
    let after = attributes_of(world.run(&commit(shown.clone())).expect("commits"));
    assert_eq!((after.mode, after.changed), (0o600, at(12)), "the time that the mount has shown");
    let earlier = AttributeChanges { made: Some(at(11)), ..shown };
    let after = attributes_of(world.run(&commit(earlier)).expect("commits"));
    assert_eq!(after.changed, at(12), "it does not go back");
    let cut = AttributeChanges { size: Some(1), ..none };
    assert_eq!(world.run(&commit(cut)), Err(MetaError::Invalid), "a length is no such thing");
}

#[test]
fn several_files_are_committed_together_or_not_at_all() {
    let mut world = World::new();
    let (a, b) = (world.file(Inode::ROOT, "a"), world.file(Inode::ROOT, "b"));
    let commit = |world: &mut World, inode, len| Commit {
        inode,
        extents: vec![world.extent(inode, 0, len)],
        size_min: len,
        modified: None,
        attributes: None,
    };
    let commits = vec![commit(&mut world, a, 10), commit(&mut world, b, 20)];
    let foreign = Commit { extents: commits[0].extents.clone(), ..commits[1].clone() };
    let twice = vec![commits[0].clone(), commits[0].clone()];
    let gone = Commit { inode: Inode::new(999), ..commits[1].clone() };
    for bad in [vec![commits[0].clone(), foreign], twice, vec![commits[0].clone(), gone]] {
        world.run(&MetaOp::CommitFiles(bad)).expect_err("refused");
        assert_eq!(world.map(a, 9), Vec::new(), "nothing of a refused operation counts");
    }
    let MetaReply::Committed(files) = world.run(&MetaOp::CommitFiles(commits)).expect("commits") else {
        panic!("not what a commit of files answers")
    };
    let told: Vec<_> = files.iter().map(|file| (file.inode, file.size)).collect();
    assert_eq!(told, [(a, 10), (b, 20)]);
    assert_eq!((world.map(a, 9).len(), world.map(b, 9).len()), (1, 1));
}

#[test]
fn a_commit_is_refused_as_a_whole() {
    let (mut world, file) = file();
    world.commit(file, &[(0, 10)]).expect("commits");
    let good = world.extent(file, 50, 10);
    let mut foreign = world.extent(file, 0, 10);
    foreign.extent.session = session_id(9);
    let mut used = world.extent(file, 0, 10);
    used.extent.seq = weft_types::ExtentSeq::new(1);
    let mut old = world.extent(file, 0, 10);
    old.group_epoch = Epoch::new(6);
    let mut nowhere = world.extent(file, 0, 10);
    nowhere.group = GroupId::new(99);
    let mut other_key = world.extent(file, 0, 10);
    other_key.key = other_key.key.next();
    let mut far = world.extent(file, 0, 10);
    far.offset = FileOffset::new(limits::FILE_BYTES_MAX - 9);
    let mut wraps = far.clone();
    wraps.offset = FileOffset::new(u64::MAX);
    let overlaps = world.extent(file, 59, 2);
    let rows = [
        (foreign, MetaError::ForeignExtent),
        (used, MetaError::ForeignExtent),
        (old, MetaError::StaleGroup),
        (nowhere, MetaError::ForeignExtent),
        (other_key, MetaError::Invalid),
        (far, MetaError::FileTooLarge),
        (wraps, MetaError::FileTooLarge),
        (overlaps, MetaError::Invalid),
        (good.clone(), MetaError::Invalid),
    ];
    let before = world.rows.clone();
    for (bad, error) in rows {
        let answer = world.commit_extents(file, vec![good.clone(), bad.clone()], 100);
        assert_eq!(answer, Err(error), "{bad:?}");
    }
    let many = vec![good.clone(); ENTRIES_MAX + 1];
    assert_eq!(world.commit_extents(file, many, 100), Err(MetaError::Invalid));
    assert_eq!(world.commit_extents(file, Vec::new(), u64::MAX), Err(MetaError::FileTooLarge));
    assert_eq!(world.rows, before);
    let mut newer = good;
    newer.group_epoch = Epoch::new(8);
    world.commit_extents(file, vec![newer], 100).expect("a newer membership is fine");
}

#[test]
fn only_regular_files_have_maps() {
    let (mut world, _) = file();
    let fifo = world.make(Inode::ROOT, "p", NewNode::Fifo).expect("makes").inode;
    for (inode, error) in [
        (Inode::ROOT, MetaError::IsDirectory),
        (fifo, MetaError::Invalid),
        (Inode::new(99), MetaError::NotFound),
    ] {
        let read = ReadMap { inode, from: 0, until: 1, limit: 1 };
        assert_eq!(world.run(&MetaOp::ReadMap(read)), Err(error));
        assert_eq!(world.run(&MetaOp::Open { inode }), Err(error));
        assert_eq!(world.commit(inode, &[(0, 1)]), Err(error));
        assert_eq!(resize(&mut world, inode, 0), Err(error));
    }
}

#[test]
fn what_is_beyond_the_length_is_dropped_and_dead() {
    let (mut world, file) = file();
    let extents = vec![world.extent(file, 0, 100), world.extent(file, 100, 100), world.extent(file, 300, 1)];
    let ids: Vec<_> = extents.iter().map(|extent| extent.extent).collect();
    let attributes = world.commit_extents(file, extents, 40).expect("commits");
    assert_eq!((attributes.size, attributes.allocated.get()), (40, 40));
    assert_eq!(world.map(file, 9), [(0, 40, 1, 0)]);
    let states: Vec<_> = ids.iter().map(|id| reclaim::state(&world.rows, *id).expect("reads")).collect();
    assert_eq!(states, [ExtentState::InUse, ExtentState::Dead, ExtentState::Dead]);
    invariants::check(&world.rows, world.names);
}

#[test]
fn bytes_that_were_cut_off_never_come_back() {
    let (mut world, file) = file();
    world.commit(file, &[(0, 100), (100, 100)]).expect("commits");
    resize(&mut world, file, 50).expect("shortens");
    assert_eq!(world.attributes(file).allocated.get(), 50);
    resize(&mut world, file, 1000).expect("grows");
    assert_eq!(world.map(file, 9), [(0, 50, 1, 0)]);
    assert_eq!(world.attributes(file).size, 1000);
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_file_ends_where_offsets_do() {
    let (mut world, file) = file();
    assert_eq!(resize(&mut world, file, limits::FILE_BYTES_MAX + 1), Err(MetaError::FileTooLarge));
    resize(&mut world, file, limits::FILE_BYTES_MAX).expect("the longest file");
    let offset = limits::FILE_BYTES_MAX - 10;
    world.commit(file, &[(offset, 10)]).expect("its last bytes");
    assert_eq!(world.map(file, 1), [(offset, 10, 1, 0)]);
}

#[test]
fn a_page_of_the_map_starts_with_the_run_that_covers() {
    let (mut world, file) = file();
    world.commit(file, &[(0, 10), (10, 10), (30, 10)]).expect("commits");
    let rows: [(u64, u64, u32, &[u64], bool); 8] = [
        (0, 1, 9, &[0], true),
        (9, 10, 9, &[0], true),
        (9, 11, 9, &[0, 10], true),
        (10, 40, 9, &[10, 30], true),
        (20, 30, 9, &[], true),
        (20, 31, 9, &[30], true),
        (0, 40, 2, &[0, 10], false),
        (0, 30, 2, &[0, 10], true),
    ];
    for (from, until, limit, offsets, end) in rows {
        let Ok(MetaReply::Map(page)) =
            world.run(&MetaOp::ReadMap(ReadMap { inode: file, from, until, limit }))
        else {
            panic!("no map")
        };
        let found: Vec<_> = page.entries.iter().map(|entry| entry.offset.get()).collect();
        assert_eq!((&found[..], page.end), (offsets, end), "{from}..{until}");
        assert!(page.entries.iter().all(|entry| entry.geometry == geometry(10)));
        assert!(page.entries.iter().all(|entry| entry.group_epoch == GROUP_EPOCH));
    }
}

/// Whether a lookup with this limit answers the map of `f`. It is the whole map then, beside the same attributes.
fn comes_with_its_map(world: &mut World, inode: Inode, limit: u32) -> bool {
    let op = MetaOp::Lookup { parent: Inode::ROOT, name: Some(name("f")), map_entries: Some(limit) };
    let attributes = world.attributes(inode);
    match world.run(&op).expect("it is there") {
        MetaReply::Found(found) => {
            let read = ReadMap { inode, from: 0, until: u64::MAX, limit: 99 };
            assert_eq!(world.run(&MetaOp::ReadMap(read)), Ok(MetaReply::Map(found.map.clone())));
            assert!(found.map.end && found.attributes == attributes);
            assert!(found.map.entries.len() <= limit as usize);
            true
        }
        reply => {
            assert_eq!(attributes_of(reply), attributes);
            false
        }
    }
}

#[test]
fn a_lookup_answers_the_whole_map_of_a_small_file_or_none() {
    let (mut world, file) = file();
    assert!(comes_with_its_map(&mut world, file, 1), "that nothing is in extents is a map too");
    assert!(!comes_with_its_map(&mut world, file, 0));
    world.commit(file, &[(0, 10), (10, 10), (30, 10)]).expect("commits");
    for limit in 0..6 {
        assert_eq!(comes_with_its_map(&mut world, file, limit), limit >= 3, "{limit}");
    }
    resize(&mut world, file, 15).expect("shortens");
    assert!(comes_with_its_map(&mut world, file, 2), "what waits to be removed does not count");
    let longest = 2 * u64::from(weft_layout::MAX_EXTENT_BYTES);
    for (size, limit, comes) in [(longest, 2, true), (longest + 1, 2, false), (longest + 1, 3, true)] {
        resize(&mut world, file, size).expect("grows");
        assert_eq!(comes_with_its_map(&mut world, file, limit), comes, "{size}");
    }
    resize(&mut world, file, 0).expect("shortens");
    let most = FOUND_ENTRIES_MAX as u64;
    let parts: Vec<_> = (0..=most).map(|part| (part * 10, 5)).collect();
    world.commit(file, &parts[1..]).expect("commits");
    assert!(comes_with_its_map(&mut world, file, u32::MAX));
    world.commit(file, &parts[..1]).expect("commits");
    assert!(!comes_with_its_map(&mut world, file, u32::MAX), "the owner has a bound of its own");
}

#[test]
fn a_map_that_cannot_be_read_does_not_keep_a_file_from_being_found() {
    let (mut world, file) = file();
    world.commit(file, &[(0, 10)]).expect("commits");
    assert!(comes_with_its_map(&mut world, file, 4));
    let key = world.extent(file, 0, 1).key;
    crate::Transaction::delete(&mut world.rows, crate::RowKey::DataKey(key));
    assert!(!comes_with_its_map(&mut world, file, 4));
}

#[test]
fn only_a_regular_file_is_found_with_a_map() {
    let (mut world, _) = file();
    for (i, node) in [NewNode::Directory, NewNode::Fifo].into_iter().enumerate() {
        let made = world.make(Inode::ROOT, &i.to_string(), node).expect("makes").inode;
        let at = |parent, name| MetaOp::Lookup { parent, name, map_entries: Some(4) };
        let found = world.run(&at(Inode::ROOT, Some(name(&i.to_string()))));
        assert_eq!(found, Ok(MetaReply::Attributes(world.attributes(made))));
    }
}

#[test]
fn dead_extents_are_listed_by_age_until_they_are_forgotten() {
    let (mut world, file) = file();
    for now in 2..8 {
        world.now = now;
        world.commit(file, &[(0, 10)]).expect("commits");
    }
    // Extent 1 died at 3, and so on; extent 6 is in use.
    let page = reclaim::dead_extents(&world.rows, at(5), None, 9).expect("lists");
    let seqs: Vec<_> = page.extents.iter().map(|(id, _)| id.seq.get()).collect();
    assert_eq!((seqs, page.next), (vec![1, 2], None));
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = reclaim::dead_extents(&world.rows, at(99), after, 2).expect("lists");
        seen.extend(page.extents.into_iter().map(|(id, _)| id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    let in_use = weft_types::ExtentId { seq: weft_types::ExtentSeq::new(6), ..seen[0] };
    seen.push(in_use);
    for _ in 0..2 {
        reclaim::forget(&mut world.rows, &seen).expect("forgets");
        assert_eq!(reclaim::state(&world.rows, seen[0]), Ok(ExtentState::Unknown));
        assert_eq!(reclaim::state(&world.rows, in_use), Ok(ExtentState::InUse));
        invariants::check(&world.rows, world.names);
    }
}

#[test]
fn a_drop_sees_every_extent_once() {
    let (mut world, file) = file();
    for i in 0..10 {
        world.commit(file, &[(i * 5, 10)]).expect("commits");
    }
    world.commit(file, &[(0, 30)]).expect("commits");
    assert_eq!(crate::drop::extents_left(&world.rows), Ok(11));
    assert!(session::end(&mut world.rows, world.session, at(9)).expect("ends"));
    let mut left = 11;
    while left > 0 {
        let page = crate::drop::extents(&world.rows, 4).expect("lists");
        assert!(!page.is_empty() && page.len() <= 4);
        let ids: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
        crate::drop::forget(&mut world.rows, &ids).expect("forgets");
        left -= ids.len() as u64;
        assert_eq!(crate::drop::extents_left(&world.rows), Ok(left));
    }
    assert_eq!(crate::drop::extents(&world.rows, 4), Ok(Vec::new()));
}

/// Rows in memory, and how many of them were read in ranges.
struct Counting<'a> {
    rows: &'a mut super::memory::Memory,
    read: core::cell::Cell<usize>,
}

impl crate::Transaction for Counting<'_> {
    fn get(&self, key: &crate::RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        self.rows.get(key)
    }
    fn put(&mut self, key: crate::RowKey, value: Vec<u8>) {
        self.rows.put(key, value);
    }
    fn delete(&mut self, key: crate::RowKey) {
        self.rows.delete(key);
    }
    fn scan(
        &self,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<(crate::RowKey, Vec<u8>)>, MetaError> {
        let rows = self.rows.scan(from, until, limit)?;
        self.read.set(self.read.get() + rows.len());
        Ok(rows)
    }
}

#[test]
fn a_small_change_of_a_long_map_reads_few_rows() {
    let (mut world, file) = file();
    for at in 0..400 {
        world.commit(file, &[(at * 10, 10)]).expect("commits");
    }
    let mapped = (&crate::inodes::file(&world.rows, file).expect("a file")).into();
    let mut rows = Counting { rows: &mut world.rows, read: core::cell::Cell::new(0) };
    let cleared = crate::map::clear(&mut rows, at(1), mapped, 500..510).expect("clears");
    assert_eq!((cleared.runs, cleared.bytes), (1, 10));
    assert_eq!(rows.read.get(), 2, "the run, and the next one");
    let cleared = crate::map::clear(&mut rows, at(1), mapped, 505..3505).expect("clears");
    assert_eq!((cleared.runs, cleared.bytes), (300, 2995));
}
