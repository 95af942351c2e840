//! Maps that come with the names of files.

use core::time::Duration;

use tokio::time::sleep;
use weft_wire::meta::{AttributeChanges, MetaOp};

use super::*;

const LOOKUPS_LATE: Option<fake::Late> =
    Some((Duration::from_secs(2), |op| matches!(op, MetaOp::Lookup { .. })));

/// What the owner was asked since so many calls, except for room.
fn asked(fake: &Fake, since: usize) -> Vec<MetaOp> {
    let calls = &fake.state().owner.calls[since..];
    calls.iter().map(|call| call.op.clone()).filter(|op| *op != MetaOp::GetSpace).collect()
}

/// A cluster with small files `0`, `1`.. of so many bytes, and a mount that knows none of them.
async fn small_files(count: u64, len: usize, read_only: bool) -> (Arc<Fake>, Arc<Core>) {
    let fake = Fake::new();
    let writer = mount(&fake);
    for number in 0..count {
        put_file(&writer, &number.to_string(), &pattern(len, number)).await;
    }
    fake.end_leases();
    let core = mount_as(&fake, read_only);
    (fake, core)
}

/// Finds a file by its name, opens and reads it.
async fn read_by_name(core: &Arc<Core>, text: &str) -> Vec<u8> {
    let found = core.lookup(ROOT, &name(text)).await.expect("is there");
    read_all(core, found.inode).await
}

async fn read_all(core: &Arc<Core>, inode: Inode) -> Vec<u8> {
    let handle = core.open(inode, READ_ONLY).await.expect("opens");
    let bytes = core.read(handle, 0, 1 << 20).await.expect("reads");
    core.release(handle);
    bytes.to_vec()
}

/// Reads the first file: what the mount learns from it is enough for the next.
async fn learn(core: &Arc<Core>) {
    assert_eq!(read_by_name(core, "0").await.len(), 3000);
}

#[tokio::test(start_paused = true)]
async fn a_small_file_is_one_question_and_one_drive_once_the_mount_has_learnt() {
    for read_only in [false, true] {
        let (fake, core) = small_files(20, 3000, read_only).await;
        for number in 0..20 {
            let (calls, gets) = (fake.calls(), fake.gets());
            assert_eq!(read_by_name(&core, &number.to_string()).await, pattern(3000, number));
            let kinds: Vec<_> = asked(&fake, calls);
            match &kinds[..] {
                [MetaOp::Lookup { map_entries: None, .. }, MetaOp::ReadMap(_)] if number == 0 => {}
                [MetaOp::Lookup { map_entries: Some(_), .. }] if number > 0 => {}
                other => panic!("file {number}: {other:?}"),
            }
            assert_eq!(fake.gets() - gets, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_only_looks_asks_for_few_maps() {
    let (fake, core) = small_files(60, 3000, false).await;
    for number in 0..20 {
        read_by_name(&core, &number.to_string()).await;
    }
    let calls = fake.calls();
    for number in 20..60 {
        core.lookup(ROOT, &name(&number.to_string())).await.expect("is there");
    }
    let asks = |op: &MetaOp| matches!(op, MetaOp::Lookup { map_entries: Some(_), .. });
    let walk = asked(&fake, calls);
    assert_eq!(walk.len(), 40);
    assert!(walk[..10].iter().all(asks) && !walk[20..].iter().any(asks), "{walk:?}");
}

#[tokio::test(start_paused = true)]
async fn files_that_are_no_small_ones_cost_no_credit() {
    let (fake, core) = small_files(2, 3000, false).await;
    let writer = mount_as(&fake, false);
    let (_, handle) = create(&writer, "scattered").await;
    for part in 0..8_u64 {
        writer.write(handle, part << 20, b"part").await.expect("writes");
    }
    writer.fsync(handle).await.expect("commits");
    learn(&core).await;
    for _ in 0..10 {
        assert!(core.lookup(ROOT, &name("none")).await.is_err());
        core.names.clear();
    }
    let calls = fake.calls();
    let bytes = read_by_name(&core, "scattered").await;
    assert_eq!(&bytes[..4], b"part");
    assert!(matches!(&asked(&fake, calls)[..], [MetaOp::Lookup { .. }, MetaOp::ReadMap(_)]));
    let calls = fake.calls();
    assert_eq!(read_by_name(&core, "1").await, pattern(3000, 1));
    assert_eq!(asked(&fake, calls).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listed_file_is_opened_and_read_by_its_map_alone() {
    let (fake, core) = small_files(3, 3000, false).await;
    let listing = core.list_directory(ROOT, 0, 100, true).await.expect("lists");
    for entry in listing.entries.iter().filter(|entry| entry.attributes.is_some()) {
        let calls = fake.calls();
        assert_eq!(read_all(&core, entry.inode).await.len(), 3000);
        assert!(matches!(&asked(&fake, calls)[..], [MetaOp::ReadMap(_)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_from_before_a_change_is_not_believed() {
    let (fake, core) = small_files(4, 3000, false).await;
    learn(&core).await;
    let inode = |number: u64| Inode::new(Inode::ROOT.get() + 1 + number);
    for number in 1..4 {
        let late = Arc::clone(&core);
        fake.state().late = LOOKUPS_LATE;
        let lookup =
            tokio::spawn(async move { late.lookup(ROOT, &name(&number.to_string())).await.expect("found") });
        sleep(Duration::from_secs(1)).await;
        let mut expected = pattern(3000, number);
        let handle = core.open(inode(number), READ_WRITE).await.expect("opens");
        if number < 3 {
            core.write(handle, 1000, b"newer").await.expect("writes");
            expected[1000..1005].copy_from_slice(b"newer");
        }
        match number {
            // Written and not committed; committed; cut off and grown again.
            1 => {}
            2 => core.fsync(handle).await.expect("commits"),
            _ => {
                for size in [10, 3000] {
                    let changes = AttributeChanges { size: Some(size), ..AttributeChanges::default() };
                    core.set_attributes(caller(), inode(number), changes).await.expect("sets the length");
                }
                expected[10..].fill(0);
            }
        }
        core.release(handle);
        fake.state().late = None;
        let found = lookup.await.expect("ends");
        assert_eq!((found.inode, found.size), (inode(number), 3000));
        assert_eq!(read_all(&core, inode(number)).await, expected, "file {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_told_of_a_change_does_not_go_back() {
    let (fake, reader) = small_files(2, 3000, true).await;
    let writer = mount_as(&fake, false);
    learn(&reader).await;
    let late = Arc::clone(&reader);
    fake.state().late = LOOKUPS_LATE;
    let lookup = tokio::spawn(async move { late.lookup(ROOT, &name("1")).await.expect("found") });
    sleep(Duration::from_millis(1900)).await;
    fake.state().late = None;
    let inode = writer.lookup(ROOT, &name("1")).await.expect("found").inode;
    let handle = writer.open(inode, READ_WRITE).await.expect("opens");
    writer.write(handle, 3000, b"longer").await.expect("writes");
    writer.fsync(handle).await.expect("commits");
    assert_eq!(reader.attributes(inode).await.expect("asks").size, 3006);
    assert_eq!(lookup.await.expect("ends").inode, inode);
    assert_eq!(read_all(&reader, inode).await, [&pattern(3000, 1)[..], b"longer"].concat());
}

#[tokio::test(start_paused = true)]
async fn a_map_that_was_under_way_during_a_change_is_asked_for_again() {
    let (fake, core) = small_files(3, 3000, false).await;
    learn(&core).await;
    for (number, changed) in [(1, false), (2, true)] {
        let late = Arc::clone(&core);
        fake.state().late = LOOKUPS_LATE;
        let lookup =
            tokio::spawn(async move { late.lookup(ROOT, &name(&number.to_string())).await.expect("found") });
        sleep(Duration::from_secs(1)).await;
        if changed {
            drop(core.names.change([ROOT]));
        }
        let found = lookup.await.expect("ends");
        let calls = fake.calls();
        assert_eq!(read_all(&core, found.inode).await, pattern(3000, number));
        let reads_map = |op: &MetaOp| matches!(op, MetaOp::ReadMap(_));
        assert_eq!(asked(&fake, calls).iter().any(reads_map), changed);
    }
}
