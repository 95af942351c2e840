//! Writes while the placement changes, and grants.

use core::time::Duration;
use std::collections::BTreeMap;

use tokio::time::{Instant, sleep};
use weft_layout::DriveState;
use weft_types::{Epoch, GroupId};
use weft_wire::meta::{MetaOp, NewExtent};

use super::*;
use crate::FsError;

/// The extents that were offered for commit, in the order of the calls.
fn offered(fake: &Fake) -> Vec<Vec<NewExtent>> {
    let commits = |op: &MetaOp| match op {
        MetaOp::Commit(commit) => Some(commit.extents.clone()),
        _ => None,
    };
    fake.state().owner.calls.iter().filter_map(|call| commits(&call.op)).collect()
}

fn puts(fake: &Fake) -> u64 {
    fake.state().drives.values().map(|drive| drive.puts).sum()
}

/// All of six drives but this one are of every group; the seventh is of none.
async fn six_of_seven() -> (Arc<Fake>, Arc<Core>) {
    let fake = Fake::of(7);
    {
        let mut state = fake.state();
        for group in &mut state.map.groups {
            group.members = (0..6).map(|number| fake::drive((number + group.id.get() as u8) % 6)).collect();
        }
    }
    let core = mount(&fake);
    (fake, core)
}

#[tokio::test(start_paused = true)]
async fn when_a_drive_dies_only_its_shards_go_elsewhere() {
    for fault in [Fault::Dead, Fault::Hanging] {
        let (fake, core) = six_of_seven().await;
        let (attributes, handle) = create(&core, "a").await;
        let bytes = pattern(9 << 20, 1);
        for (index, chunk) in bytes.chunks(1 << 20).enumerate() {
            core.write(handle, (index << 20) as u64, chunk).await.expect("writes");
        }
        fake.fault(3, fault);
        let before = puts(&fake);
        let begun = Instant::now();
        let synced = tokio::spawn({
            let core = Arc::clone(&core);
            async move { core.fsync(handle).await }
        });
        // The detection takes its time.
        sleep(Duration::from_secs(5)).await;
        assert!(!synced.is_finished());
        fake.replace(3, |_| 6);
        synced.await.expect("it ends").expect("commits");
        assert!(begun.elapsed() < Duration::from_millis(5500), "{:?} with {fault:?}", begun.elapsed());
        // Three extents of six shards, each once: one of them with the new drive.
        assert_eq!(puts(&fake) - before, 18);
        assert_eq!(fake.state().drives[&fake::drive(6)].shards.len(), 3);
        let epochs: Vec<_> = offered(&fake).concat().iter().map(|extent| extent.group_epoch).collect();
        assert_eq!(epochs, [Epoch::new(2); 3]);
        assert!(get_file(&mount(&fake), attributes.inode, 1 << 20).await.expect("reads") == bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_drive_is_waited_for_and_the_others_go_on() {
    let (fake, core) = six_of_seven().await;
    fake.fault(2, Fault::Late(Duration::from_secs(3)));
    let bytes = pattern(24 << 20, 1);
    let begun = Instant::now();
    put_file(&core, "a", &bytes).await;
    // Not one wait after the other.
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stale_commit_is_repeated_with_what_moved_and_applied_once() {
    let (fake, core) = six_of_seven().await;
    let (attributes, handle) = create(&core, "a").await;
    let bytes = pattern(100_000, 1);
    core.write(handle, 0, &bytes).await.expect("writes");
    // The extent is stored under the old membership while the owner already wants the next one.
    fake.fault(0, Fault::Late(Duration::from_millis(500)));
    let synced = tokio::spawn({
        let core = Arc::clone(&core);
        async move { core.fsync(handle).await }
    });
    sleep(Duration::from_millis(100)).await;
    fake.replace(5, |_| 6);
    let floors = fake.state().owner.floors.clone();
    assert!(floors.values().all(|floor| *floor == Epoch::new(2)));
    // Nobody has told the client of the map yet.
    fake.state().map_silent = true;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(offered(&fake).len(), 1);
    fake.state().map_silent = false;
    // The answer to the second attempt gets lost.
    fake.state().lost_replies = 2;
    synced.await.expect("it ends").expect("commits");
    let offered = offered(&fake);
    assert_eq!(offered.len(), 2, "carried out twice: refused, and done");
    assert_eq!(offered[0][0].extent, offered[1][0].extent);
    assert_eq!((offered[0][0].group_epoch, offered[1][0].group_epoch), (Epoch::new(1), Epoch::new(2)));
    let slots: Vec<_> = {
        let state = fake.state();
        let commits = state.owner.calls.iter().filter(|call| matches!(call.op, MetaOp::Commit(_)));
        commits.map(|call| (call.slot, call.seq)).collect()
    };
    assert_ne!(slots[0], slots[1], "a refused operation has used its number up");
    assert_eq!(fake.state().drives[&fake::drive(6)].shards.len(), 1);
    assert_eq!(puts(&fake), 6 + 1, "only one shard moved");
    assert!(get_file(&mount(&fake), attributes.inode, 1 << 20).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn new_extents_go_to_groups_that_are_up() {
    let fake = Fake::of(8);
    fake.report(0, DriveState::Down);
    let core = mount(&fake);
    put_file(&core, "a", &pattern(12 << 20, 1)).await;
    // Group 0 begins with that drive; groups 1 and 2 are without it.
    let groups: Vec<_> = offered(&fake).concat().iter().map(|extent| extent.group).collect();
    assert!(groups.len() == 3 && !groups.contains(&GroupId::new(0)), "{groups:?}");
}

#[tokio::test(start_paused = true)]
async fn shards_are_looked_for_where_their_epoch_says() {
    let (fake, core) = six_of_seven().await;
    let bytes = pattern(100_000, 1);
    let inode = put_file(&core, "a", &bytes).await;
    // Other members since, twice: all shards still lie where they were put.
    fake.replace(1, |_| 6);
    fake.replace(4, |_| 1);
    let core = mount(&fake);
    let before: BTreeMap<_, _> = fake.state().drives.iter().map(|(id, drive)| (*id, drive.gets)).collect();
    assert!(get_file(&core, inode, 1 << 20).await.expect("reads") == bytes);
    let state = fake.state();
    assert_eq!(state.drives[&fake::drive(6)].gets, before[&fake::drive(6)], "the drive that never had one");
    assert_eq!(core.counts().reconstructions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drive_is_shown_the_grant_once_and_again_when_it_has_forgotten() {
    let fake = Fake::new();
    let core = mount(&fake);
    put_file(&core, "a", &pattern(20 << 20, 1)).await;
    let presented = |fake: &Fake| -> Vec<u64> {
        (0..6).map(|number| fake.state().drives[&fake::drive(number)].presented).collect()
    };
    assert_eq!(presented(&fake), [1; 6]);
    fake.restart(2);
    put_file(&core, "b", &pattern(20 << 20, 2)).await;
    assert_eq!(presented(&fake), [1, 1, 2, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_a_session_that_is_closed_at_a_drive_another_one_is_opened() {
    let fake = Fake::new();
    let core = mount(&fake);
    put_file(&core, "a", b"x").await;
    let session = core.session();
    for drive in fake.state().drives.values_mut() {
        drive.closed.insert(session);
    }
    let (_, handle) = create(&core, "b").await;
    core.write(handle, 0, b"kept").await.expect("writes");
    core.fsync(handle).await.expect("commits under another session");
    assert!(core.session() != session && !core.has_ended());
}

#[tokio::test(start_paused = true)]
async fn extents_are_committed_in_the_order_of_the_file_while_others_are_on_their_way() {
    let (fake, core) = six_of_seven().await;
    fake.fault(2, Fault::Late(Duration::from_millis(50)));
    put_file(&core, "a", &pattern(80 << 20, 1)).await;
    let offers = offered(&fake);
    let offsets: Vec<u64> = offers.concat().iter().map(|extent| extent.offset.get()).collect();
    assert!(offsets.is_sorted() && offsets.len() == 20, "{offsets:?}");
    assert!(offers.len() > 4, "{}", offers.len());
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_leaves_little_behind() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (_, handle) = create(&core, "a").await;
    fake.fault(3, Fault::Dead);
    for index in 0..20 {
        core.write(handle, index << 20, &pattern(1 << 20, index)).await.expect("writes");
    }
    sleep(Duration::from_secs(300)).await;
    let stored = fake.state().drives[&fake::drive(0)].shards.len();
    // Five of the first flight, and one of each of ten others.
    assert!(stored <= 17, "{stored}");
    fake.fault(3, Fault::None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(core.counts().dirty_bytes, 0);
}

/// A mount with files, overwrites and a drive that dies and is replaced; what was asked of whom.
async fn history() -> (Vec<String>, Vec<String>) {
    let (fake, core) = six_of_seven().await;
    for file in 0..4_u64 {
        let (_, handle) = create(&core, &format!("f{file}")).await;
        for index in 0..60 {
            let at = index * 37 % 64 * 8192;
            core.write(handle, at, &pattern(6000, file + index)).await.expect("writes");
            if index % 7 == 0 {
                core.fsync(handle).await.expect("commits");
            }
        }
    }
    fake.fault(1, Fault::Hanging);
    sleep(Duration::from_secs(3)).await;
    fake.replace(1, |_| 6);
    sleep(Duration::from_secs(30)).await;
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    let state = fake.state();
    let puts = state.trace.iter().map(|put| format!("{put:?}")).collect();
    (puts, state.owner.calls.iter().map(|call| format!("{call:?}")).collect())
}

#[test]
fn the_same_history_repeats_itself() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(history())
    };
    let ((puts, calls), again) = (run(), run());
    assert!(puts.len() > 300 && calls.len() > 40, "{} {}", puts.len(), calls.len());
    assert_eq!(puts, again.0);
    assert_eq!(calls, again.1);
}

#[tokio::test(start_paused = true)]
async fn while_no_group_can_take_an_extent_drives_are_not_filled_with_parts_of_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let bytes = pattern(3 << 20, 1);
    core.write(handle, 0, &bytes).await.expect("writes");
    fake.fault(2, Fault::Dead);
    fake.report(2, DriveState::Down);
    core.refresh_map().await;
    assert_eq!(core.fsync(handle).await, Err(FsError::Unreachable));
    sleep(Duration::from_secs(600)).await;
    let stored = |fake: &Fake| fake.state().drives.values().map(|drive| drive.shards.len()).sum::<usize>();
    assert_eq!(stored(&fake), 0, "the same bytes were tried for ten minutes");
    fake.fault(2, Fault::None);
    fake.report(2, DriveState::Up);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((stored(&fake), core.counts().dirty_bytes), (6, 0));
    assert!(get_file(&core, attributes.inode, 1 << 20).await.expect("reads") == bytes);
}
