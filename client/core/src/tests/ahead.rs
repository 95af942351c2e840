//! What is fetched ahead of reads.

use core::time::Duration;

use tokio::time::sleep;

use super::*;

const MIB: u64 = 1 << 20;
const STEP: u64 = 64 << 10;

/// A mount with a handle of a file of so many MiB that it has not read yet, and the file's bytes.
async fn cold(mib: u64) -> (Arc<Fake>, Arc<Core>, HandleId, Vec<u8>) {
    let fake = Fake::new();
    let bytes = pattern((mib * MIB) as usize, 7);
    let inode = put_file(&mount(&fake), "a", &bytes).await;
    let core = mount(&fake);
    let handle = core.open(inode, READ_ONLY).await.expect("opens");
    (fake, core, handle, bytes)
}

/// Reads, and waits until what is fetched ahead of that has come. Says whether memory answered.
async fn read_at(core: &Arc<Core>, handle: HandleId, offset: u64, len: u64, bytes: &[u8]) -> bool {
    let (from_memory, read) = match core.try_read(handle, offset, len as u32) {
        Some(read) => (true, read),
        None => (false, core.read(handle, offset, len as u32).await),
    };
    assert!(read.expect("reads") == bytes[offset as usize..][..len as usize], "other bytes at {offset}");
    sleep(Duration::from_millis(1)).await;
    from_memory
}

#[tokio::test(start_paused = true)]
async fn reads_at_equal_distances_find_their_bytes_in_memory_and_no_others_are_fetched() {
    for backwards in [false, true] {
        let (fake, core, handle, bytes) = cold(48).await;
        let places: Vec<u64> = (0..45).map(|step| step * MIB + 100).collect();
        let places = if backwards { places.into_iter().rev().collect() } else { places };
        let mut waited = Vec::new();
        for (number, at) in places.into_iter().enumerate() {
            if !read_at(&core, handle, at, STEP, &bytes).await {
                waited.push(number);
            }
        }
        // The first ones, and those for which the map had to be asked.
        assert!(waited.len() <= 6 && waited.iter().all(|number| *number < 12), "{waited:?}");
        // A read that begins within a block of one shard may end in another.
        let read = fake.state().drives.values().map(|drive| drive.gets).sum::<u64>();
        assert!(read <= 2 * 45 + 2 * 6 * 4, "{read} columns, {backwards}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_from_the_back_finds_its_bytes_in_memory() {
    let (fake, core, handle, bytes) = cold(40).await;
    let calls = fake.calls();
    let mut waited = Vec::new();
    for at in (0..40).rev() {
        if !read_at(&core, handle, at * MIB, MIB, &bytes).await {
            waited.push(at);
        }
    }
    assert_eq!(waited, [39, 38, 37, 36, 35], "until it is noticed, and then once for the map");
    let maps = fake.calls() - calls;
    assert!(maps <= 2, "{maps} questions");
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_ahead_is_not_read_for_what_was_written_since() {
    let (_, core, handle, mut bytes) = cold(48).await;
    for step in 0..12 {
        read_at(&core, handle, step * 2 * MIB, STEP, &bytes).await;
    }
    let inode = core.lookup(ROOT, &name("a")).await.expect("found").inode;
    let writer = core.open(inode, READ_WRITE).await.expect("opens");
    let at = 24 * MIB + 10;
    core.write(writer, at, b"newer").await.expect("writes");
    core.fsync(writer).await.expect("commits");
    bytes[at as usize..][..5].copy_from_slice(b"newer");
    for step in 12..20 {
        read_at(&core, handle, step * 2 * MIB, STEP, &bytes).await;
    }
}
