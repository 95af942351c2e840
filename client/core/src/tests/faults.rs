//! Reads while drives fail.

use core::time::Duration;

use tokio::time::Instant;
use weft_layout::DriveState;

use super::*;
use crate::FsError;

const SIZES: [usize; 5] = [100, 4096, 20_000, (1 << 20) + 17, (9 << 20) + 5];

/// A cluster with files of all shapes.
async fn written() -> (Arc<Fake>, Vec<(Inode, Vec<u8>)>) {
    let fake = Fake::new();
    let core = mount(&fake);
    let mut files = Vec::new();
    for (index, size) in SIZES.into_iter().enumerate() {
        let bytes = pattern(size, index as u64);
        files.push((put_file(&core, &format!("f{index}"), &bytes).await, bytes));
    }
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    (fake, files)
}

async fn compare(core: &Arc<Core>, files: &[(Inode, Vec<u8>)], step: u32) {
    for (inode, bytes) in files {
        let read = get_file(core, *inode, step).await.expect("reads");
        assert!(read == *bytes, "a file of {} bytes reads as it was written", bytes.len());
    }
}

fn pairs() -> impl Iterator<Item = (u8, u8)> {
    (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b)))
}

#[tokio::test(start_paused = true)]
async fn any_two_dead_drives_are_read_around() {
    let (fake, files) = written().await;
    for (a, b) in pairs() {
        let core = mount(&fake);
        compare(&core, &files[..2], 1 << 17).await;
        fake.fault(a, Fault::Dead);
        fake.fault(b, Fault::Dead);
        compare(&core, &files, 1 << 17).await;
        assert!(core.counts().reconstructions > 0);
        assert_eq!(core.counts().unreadable, 0);
        fake.fault_all(Fault::None);
    }
}

#[tokio::test(start_paused = true)]
async fn drives_that_hang_are_noticed_and_avoided() {
    let (fake, files) = written().await;
    for (a, b) in pairs() {
        let core = mount(&fake);
        fake.fault(a, Fault::Hanging);
        fake.fault(b, Fault::Hanging);
        let begun = Instant::now();
        compare(&core, &files, 1 << 17).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?} for drives {a} and {b}", begun.elapsed());
        fake.fault_all(Fault::None);
    }
}

#[tokio::test(start_paused = true)]
async fn drives_that_are_down_in_the_map_are_not_asked() {
    let (fake, files) = written().await;
    for number in [1, 4] {
        fake.fault(number, Fault::Hanging);
        fake.report(number, DriveState::Down);
    }
    let core = mount(&fake);
    let begun = Instant::now();
    compare(&core, &files, 1 << 17).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "no time passes by waiting for a drive");
    let state = fake.state();
    assert_eq!(state.drives[&fake::drive(1)].gets, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_shard_is_overtaken_by_the_rest_of_its_stripe() {
    let (fake, files) = written().await;
    let core = mount(&fake);
    fake.fault(2, Fault::Slow(Duration::from_secs(5)));
    let begun = Instant::now();
    compare(&core, &files, 1 << 17).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(core.counts().reconstructions > 0);
}

#[tokio::test(start_paused = true)]
async fn damage_of_two_drives_is_repaired_and_counted() {
    for fault in [Fault::Damaged, Fault::Lying] {
        let (fake, files) = written().await;
        for (a, b) in pairs() {
            let core = mount(&fake);
            fake.fault(a, fault);
            fake.fault(b, fault);
            compare(&core, &files, 1 << 17).await;
            assert!(core.counts().damaged > 0, "{fault:?}");
            fake.fault_all(Fault::None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_drive_dead_and_another_lying_is_survived() {
    let (fake, files) = written().await;
    for (a, b) in pairs() {
        let core = mount(&fake);
        fake.fault(a, Fault::Dead);
        fake.fault(b, Fault::Lying);
        compare(&core, &files, 4096 * 5).await;
        fake.fault_all(Fault::None);
    }
}

#[tokio::test(start_paused = true)]
async fn damage_beyond_repair_is_an_error_and_never_zeroes() {
    for fault in [Fault::Dead, Fault::Damaged, Fault::Lying, Fault::Blank] {
        let (fake, files) = written().await;
        let core = mount(&fake);
        (0..3).for_each(|number| fake.fault(number, fault));
        let (inode, bytes) = &files[4];
        assert_eq!(get_file(&core, *inode, 1 << 20).await, Err(FsError::Unreadable), "{fault:?}");
        assert!(core.counts().unreadable > 0);
        fake.fault_all(Fault::None);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(get_file(&core, *inode, 1 << 20).await.expect("the drives are back") == *bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn random_small_reads_touch_one_shard() {
    let (fake, files) = written().await;
    let core = mount(&fake);
    let (inode, bytes) = &files[4];
    let handle = core.open(*inode, READ_ONLY).await.expect("opens");
    for offset in [8 << 20, 3 << 20, 6 << 20, 1 << 20] {
        let before = fake.gets();
        let read = core.read(handle, offset, 4096).await.expect("reads");
        assert!(read[..] == bytes[offset as usize..][..4096]);
        assert_eq!(fake.gets() - before, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_reads_every_shard_once_and_memory_answers_the_rest() {
    let (fake, files) = written().await;
    let core = mount(&fake);
    let (inode, bytes) = &files[4];
    let before = fake.gets();
    assert!(get_file(&core, *inode, 1 << 17).await.expect("reads") == *bytes);
    // Two extents of 4 MiB and one of a bit more than 1 MiB, four data shards each.
    assert_eq!(fake.gets() - before, 12);
    let handle = core.open(*inode, READ_ONLY).await.expect("opens");
    let again = core.try_read(handle, 5, 1000).expect("memory answers").expect("reads");
    assert!(again[..] == bytes[5..1005]);
}

#[tokio::test(start_paused = true)]
async fn shards_are_found_where_the_group_was_before() {
    let fake = Fake::of(8);
    let core = mount(&fake);
    let bytes = pattern(100_000, 3);
    let inode = put_file(&core, "a", &bytes).await;
    {
        let mut state = fake.state();
        state.map.version = state.map.version.next();
        for group in &mut state.map.groups {
            let earlier = weft_layout::Membership { epoch: group.epoch, members: group.members.clone() };
            group.epoch = group.epoch.next();
            group.history.push(earlier);
            group.members.rotate_left(1);
        }
    }
    let core = mount(&fake);
    assert!(get_file(&core, inode, 1 << 17).await.expect("reads") == bytes);
}

#[tokio::test(start_paused = true)]
async fn drives_that_have_too_much_to_do_are_asked_again() {
    let (fake, files) = written().await;
    let core = mount(&fake);
    fake.fault_all(Fault::Busy(3));
    compare(&core, &files, 1 << 17).await;
    assert_eq!(core.counts().unreadable, 0);
    // Also when there is nobody else to turn to.
    fake.fault(0, Fault::Dead);
    fake.fault(1, Fault::Dead);
    (2..6).for_each(|number| fake.fault(number, Fault::Busy(3)));
    compare(&mount(&fake), &files, 1 << 17).await;
}
