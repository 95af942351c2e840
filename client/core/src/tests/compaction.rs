//! Compaction, and everything that may happen meanwhile.

use core::time::Duration;
use std::collections::HashSet;

use proptest::prelude::*;
use tokio::time::sleep;
use weft_layout::DriveState;
use weft_types::{Epoch, ExtentId};
use weft_wire::meta::{AttributeChanges, MapEntry, MetaOp};

use super::*;
use crate::FsError;

const MIB: usize = 1 << 20;

async fn write_synced(core: &Arc<Core>, handle: HandleId, offset: usize, bytes: &[u8]) {
    core.write(handle, offset as u64, bytes).await.expect("writes");
    core.fsync(handle).await.expect("commits");
}

/// A file of these bytes after so many overwrites of single blocks, each committed on its own.
async fn scattered(
    core: &Arc<Core>,
    text: &str,
    len: usize,
    overwrites: usize,
) -> (Inode, HandleId, Vec<u8>) {
    let mut bytes = pattern(len, 1);
    let inode = put_file(core, text, &bytes).await;
    let handle = core.open(inode, READ_WRITE).await.expect("opens");
    for index in 0..overwrites {
        let offset = (index * 37 % (len / 4096)) * 4096;
        let block = pattern(4096, 1000 + index as u64);
        bytes[offset..offset + 4096].copy_from_slice(&block);
        write_synced(core, handle, offset, &block).await;
    }
    (inode, handle, bytes)
}

fn compactions(fake: &Fake) -> usize {
    fake.state().owner.calls.iter().filter(|call| matches!(call.op, MetaOp::Compact(_))).count()
}

/// Drops the shards of every extent that no map entry of these names.
fn collect_garbage(fake: &Fake, live: &[MapEntry]) -> usize {
    let live: HashSet<ExtentId> = live.iter().map(|entry| entry.extent).collect();
    let mut dropped = 0;
    for drive in fake.state().drives.values_mut() {
        let before = drive.shards.len();
        drive.shards.retain(|key, _| live.contains(&key.extent));
        dropped += before - drive.shards.len();
    }
    dropped
}

#[tokio::test(start_paused = true)]
async fn overwritten_blocks_become_long_extents_again() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, _, bytes) = scattered(&core, "a", 9 * MIB, 1500).await;
    assert!(fake.runs(inode).len() > 500, "{}", fake.runs(inode).len());
    sleep(Duration::from_secs(10)).await;
    let runs = fake.runs(inode);
    assert!(runs.len() <= 3, "{} runs", runs.len());
    assert!(get_file(&core, inode, 1 << 17).await.expect("reads") == bytes);
    assert!(collect_garbage(&fake, &runs) > 1000);
    let core = mount(&fake);
    let before = fake.gets();
    assert!(get_file(&core, inode, 1 << 17).await.expect("reads") == bytes);
    assert_eq!(fake.gets() - before, 12, "as a file that was written at once");
}

#[tokio::test(start_paused = true)]
async fn while_writes_go_on_the_map_stays_bounded_and_fsync_stays_cheap() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, handle, mut bytes) = scattered(&core, "a", 4 * MIB, 0).await;
    let mut most = 0;
    for index in 0..3000_usize {
        let offset = (index * 37 % 1024) * 4096;
        let block = pattern(4096, index as u64);
        bytes[offset..offset + 4096].copy_from_slice(&block);
        let commits = |fake: &Fake| {
            let state = fake.state();
            let commits = state.owner.calls.iter().filter(|call| matches!(call.op, MetaOp::Commit(_)));
            commits.count()
        };
        let before = commits(&fake);
        write_synced(&core, handle, offset, &block).await;
        assert_eq!(commits(&fake) - before, 1);
        sleep(Duration::from_millis(5)).await;
        most = most.max(fake.runs(inode).len());
    }
    assert!(compactions(&fake) >= 2, "{}", compactions(&fake));
    assert!(core.counts().compactions >= 2, "{}", core.counts().compactions);
    assert!(most < 2 * 1024, "{most}");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.runs(inode).len(), 1);
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_mostly_dead_extent_is_rewritten() {
    let fake = Fake::new();
    let core = mount(&fake);
    let mut bytes = pattern(4 * MIB, 1);
    let inode = put_file(&core, "a", &bytes).await;
    let old = fake.runs(inode)[0].extent;
    let handle = core.open(inode, READ_WRITE).await.expect("opens");
    let newer = pattern(3 * MIB, 2);
    bytes[..3 * MIB].copy_from_slice(&newer);
    write_synced(&core, handle, 0, &newer).await;
    assert!(fake.runs(inode).iter().any(|run| run.extent == old));
    sleep(Duration::from_secs(10)).await;
    assert!(fake.runs(inode).iter().all(|run| run.extent != old));
    assert_eq!(fake.runs(inode).len(), 2);
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn holes_stay_holes_and_attributes_stay_as_they_are() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    for index in 0..40 {
        // Two rows of blocks with a hole between them.
        let offset = if index < 20 { index * 4096 } else { MIB + index * 4096 };
        write_synced(&core, handle, offset, &pattern(4096, index as u64)).await;
    }
    let before = core.attributes(attributes.inode).await.expect("known");
    let bytes = get_file(&core, attributes.inode, 1 << 20).await.expect("reads");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.runs(attributes.inode).len(), 2);
    let core = mount(&fake);
    assert_eq!(core.attributes(attributes.inode).await.expect("known"), before);
    assert!(get_file(&core, attributes.inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn fragments_of_an_earlier_mount_are_found_by_reading() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, _, bytes) = scattered(&core, "a", 4 * MIB, 400).await;
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    let core = mount(&fake);
    assert!(get_file(&core, inode, 1 << 20).await.expect("reads") == bytes);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.runs(inode).len(), 1);
    assert!(get_file(&core, inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_an_old_map_finds_what_was_compacted() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, _, bytes) = scattered(&core, "a", 4 * MIB, 100).await;
    let reader = mount_as(&fake, true);
    let handle = reader.open(inode, READ_ONLY).await.expect("opens");
    reader.read(handle, 0, 4096).await.expect("reads");
    sleep(Duration::from_secs(10)).await;
    let runs = fake.runs(inode);
    assert_eq!(runs.len(), 1);
    assert!(collect_garbage(&fake, &runs) > 0);
    // Also with a drive that does not say whether it has the shard.
    fake.fault(4, Fault::Dead);
    let read = reader.read(handle, MIB as u64, MIB as u32).await.expect("reads");
    assert!(read[..] == bytes[MIB..2 * MIB]);
}

#[tokio::test(start_paused = true)]
async fn what_another_mount_writes_is_not_compacted_away() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, _, mut bytes) = scattered(&core, "a", MIB, 50).await;
    let other = mount_as(&fake, false);
    let handle = other.open(inode, READ_WRITE).await.expect("opens");
    let newer = pattern(5000, 9);
    bytes[70_000..75_000].copy_from_slice(&newer);
    write_synced(&other, handle, 70_000, &newer).await;
    sleep(Duration::from_secs(30)).await;
    assert!(compactions(&fake) >= 1);
    assert_eq!(fake.runs(inode).len(), 1);
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_compaction_follows_its_group() {
    let fake = Fake::of(8);
    let core = mount(&fake);
    let (inode, _, bytes) = scattered(&core, "a", MIB, 50).await;
    {
        let mut state = fake.state();
        let floors: Vec<_> = state.map.groups.iter().map(|group| (group.id, group.epoch.next())).collect();
        state.owner.floors.extend(floors);
    }
    sleep(Duration::from_secs(8)).await;
    assert!(fake.runs(inode).len() > 1, "it was refused as stale");
    for group in &mut fake.state().map.groups {
        group.epoch = Epoch::new(2);
    }
    fake.report(7, DriveState::Up);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.runs(inode).len(), 1);
    assert!(get_file(&mount(&fake), inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_compacted() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, handle, _) = scattered(&core, "a", MIB, 50).await;
    fake.state().owner.free = 1000;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(compactions(&fake), 0);
    assert_eq!(core.write(handle, 0, b"x").await, Err(FsError::NoSpace));
    fake.state().owner.free = 1 << 40;
    sleep(Duration::from_secs(70)).await;
    assert_eq!(fake.runs(inode).len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    /// Blocks are overwritten, and committed together or one by one.
    Scatter {
        seed: u64,
        count: usize,
        synced: bool,
    },
    Resize(usize),
    Wait(u64),
    Read {
        offset: usize,
        len: usize,
    },
    /// Reads take so long that a compaction spans other steps.
    Slow(bool),
    Remount,
}

const SPACE: usize = 6 * MIB;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<u64>(), 1..40_usize, any::<bool>())
            .prop_map(|(seed, count, synced)| Step::Scatter { seed, count, synced }),
        1 => (0..SPACE).prop_map(Step::Resize),
        4 => (1..7000_u64).prop_map(Step::Wait),
        2 => (0..SPACE, 1..MIB).prop_map(|(offset, len)| Step::Read { offset, len }),
        1 => any::<bool>().prop_map(Step::Slow),
        1 => Just(Step::Remount),
    ]
}

struct Run {
    fake: Arc<Fake>,
    core: Arc<Core>,
    inode: Inode,
    handle: HandleId,
    model: Vec<u8>,
}

impl Run {
    async fn scatter(&mut self, seed: u64, count: usize, synced: bool) {
        for index in 0..count {
            let random = pattern(16, seed.wrapping_add(index as u64));
            let at = usize::from_le_bytes(random[..8].try_into().expect("8 bytes")) % (SPACE - 6000);
            let len = 1 + usize::from(u16::from_le_bytes([random[8], random[9]])) % 6000;
            let bytes = pattern(len, seed ^ index as u64);
            self.core.write(self.handle, at as u64, &bytes).await.expect("writes");
            self.model.resize(self.model.len().max(at + len), 0);
            self.model[at..at + len].copy_from_slice(&bytes);
            if synced {
                self.core.fsync(self.handle).await.expect("commits");
            }
        }
    }

    async fn apply(&mut self, step: &Step) {
        match *step {
            Step::Scatter { seed, count, synced } => self.scatter(seed, count, synced).await,
            Step::Resize(size) => {
                let changes = AttributeChanges { size: Some(size as u64), ..AttributeChanges::default() };
                self.core.set_attributes(caller(), self.inode, changes).await.expect("resizes");
                self.model.resize(size, 0);
            }
            Step::Wait(millis) => sleep(Duration::from_millis(millis)).await,
            Step::Read { offset, len } => {
                let read = self.core.read(self.handle, offset as u64, len as u32).await.expect("reads");
                let end = self.model.len().min(offset + len);
                assert!(read[..] == *self.model.get(offset..end).unwrap_or_default());
            }
            Step::Slow(slow) => {
                let fault = if slow { Fault::Slow(Duration::from_millis(700)) } else { Fault::None };
                self.fake.fault_all(fault);
            }
            Step::Remount => {
                self.core.unmount(Duration::from_secs(100)).await.expect("all is written");
                self.core = mount(&self.fake);
                self.handle = self.core.open(self.inode, READ_WRITE).await.expect("opens");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_file_holds_what_was_written_whatever_is_compacted(
        steps in proptest::collection::vec(step(), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let fake = Fake::new();
            let core = mount(&fake);
            let (attributes, handle) = create(&core, "a").await;
            let mut run = Run { fake, core, inode: attributes.inode, handle, model: Vec::new() };
            for step in &steps {
                run.apply(step).await;
            }
            run.apply(&Step::Slow(false)).await;
            run.apply(&Step::Wait(20_000)).await;
            run.apply(&Step::Remount).await;
            let live = run.fake.runs(run.inode);
            collect_garbage(&run.fake, &live);
            let read = get_file(&run.core, run.inode, 1 << 20).await.expect("reads");
            assert!(read == run.model);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_not_compacted_over_and_over() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, handle, _) = scattered(&core, "a", MIB, 20).await;
    core.release(handle);
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    core.forget(inode, 1);
    sleep(Duration::from_secs(2)).await;
    collect_garbage(&fake, &[]);
    let before = fake.gets();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.gets() - before, 0, "its extents are gone");
}
