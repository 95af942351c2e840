use proptest::prelude::*;
use weft_engine::store::StoreContents;
use weft_types::{Digest, DriveId, Incarnation, Position};
use weft_wire::ownership::EpochEnd;

use super::*;
use crate::fixture;

const OWNER: NodeId = NodeId::from_bytes([7; 16]);
const OTHER: NodeId = NodeId::from_bytes([8; 16]);
const SHARD: MetadataShard = MetadataShard::new(0);

fn home(n: u8) -> DriveHome {
    DriveHome { drive: DriveId::from_bytes([n; 16]), incarnation: Incarnation::new(1) }
}

fn segment(first: u64, drives: &[u8]) -> LogSegment {
    LogSegment { first, drives: drives.iter().map(|n| home(*n)).collect() }
}

fn end(epoch: u64, seq: u64) -> EpochEnd {
    EpochEnd { epoch: Epoch::new(epoch), seq }
}

fn checkpoint(epoch: u64, seq: u64) -> CheckpointRoot {
    CheckpointRoot {
        position: Position { epoch: Epoch::new(epoch), seq },
        epoch: Epoch::new(1),
        number: 1,
        parts: 1,
        bytes: 10,
        digest: Digest([1; 32]),
        drives: vec![home(1), home(2)],
    }
}

/// Contents with one filesystem, owned for the third time.
fn owned() -> (Contents, FilesystemId, ShardRow) {
    let mut contents = fixture::contents();
    let row = fixture::filesystem("home");
    contents.create(row.clone()).expect("created");
    for _ in 0..3 {
        contents.take_ownership("home", SHARD, OWNER, |_, _| false).expect("owned");
    }
    let shard = contents.shard(row.id, SHARD).expect("owned").clone();
    (contents, row.id, shard)
}

/// The next row, changed so.
fn next(row: &ShardRow, change: impl FnOnce(&mut ShardRow)) -> ShardRow {
    let mut next = row.clone();
    next.version += 1;
    change(&mut next);
    next
}

#[test]
fn only_the_owner_under_its_epoch_replaces_the_version_it_read() {
    let (mut contents, id, row) = owned();
    let grown = next(&row, |row| row.segments = vec![segment(1, &[1, 2, 3])]);
    let mut swap = |row: &ShardRow, node| contents.swap_shard(id, SHARD, row.clone(), node);
    let deposed = Err(SwapRefusal::Deposed { by: Epoch::new(3) });
    assert_eq!(swap(&grown, OTHER), deposed);
    assert_eq!(swap(&next(&grown, |row| row.epoch = Epoch::new(2)), OWNER), deposed);
    assert_eq!(swap(&grown, OWNER), Ok(()));
    assert_eq!(swap(&grown, OWNER), Err(SwapRefusal::Changed { version: 4 }), "a second time");
    assert!(
        swap(&next(&grown, |row| row.owner = OTHER), OWNER).is_err(),
        "owners change by ownerships alone"
    );
    let later = contents.take_ownership("home", SHARD, OTHER, |_, _| true).expect("owned");
    assert_eq!((later.row.epoch, later.row.version), (Epoch::new(4), 5));
    assert_eq!(later.before, Some(Before { owner: OWNER, contested: false }));
    assert!(contents.filesystems[0].shards[0].contested, "it is remembered");
    assert_eq!(later.row.segments, grown.segments, "the log stays where it is");
    let late = next(&grown, |_| ());
    assert_eq!(contents.swap_shard(id, SHARD, late, OWNER), Err(SwapRefusal::Deposed { by: Epoch::new(4) }));
    assert_eq!(
        contents.swap_shard(FilesystemId::from_bytes([99; 16]), SHARD, grown, OWNER),
        Err(SwapRefusal::NotFound)
    );
}

#[test]
fn a_row_that_cannot_be_is_refused() {
    let (mut contents, id, row) = owned();
    let sound = next(&row, |row| {
        row.segments = vec![segment(1, &[1, 2, 3]), segment(40, &[2, 3, 4])];
        row.ends = vec![end(1, 10), end(2, 20)];
        row.checkpoint = Some(checkpoint(1, 5));
    });
    contents.swap_shard(id, SHARD, sound.clone(), OWNER).expect("sound");
    type Twist = fn(&mut ShardRow);
    let twists: [(&str, Twist); 12] = [
        ("a list without drives", |row| row.segments[1].drives.clear()),
        ("a drive twice", |row| row.segments[1].drives[0] = row.segments[1].drives[1]),
        ("no order", |row| row.segments.swap(0, 1)),
        ("two beginnings", |row| row.segments[1].first = 1),
        ("no log", |row| row.segments.clear()),
        ("records lost", |row| row.segments[0].first = 7),
        ("an end that moved", |row| row.ends[1].seq = 21),
        ("an end taken back", |row| _ = row.ends.pop()),
        ("an end in the past", |row| row.ends.push(end(2, 30))),
        ("its own end", |row| row.ends.push(end(3, 30))),
        ("no checkpoint", |row| row.checkpoint = None),
        ("an earlier checkpoint", |row| row.checkpoint = Some(checkpoint(1, 4))),
    ];
    for (what, twist) in twists {
        let twisted = next(&sound, twist);
        assert_eq!(contents.swap_shard(id, SHARD, twisted, OWNER), Err(SwapRefusal::Malformed), "{what}");
    }
    let merged = next(&sound, |row| row.ends = vec![end(1, 10), end(2, 20)]);
    assert_eq!(contents.swap_shard(id, SHARD, merged, OWNER), Ok(()), "nothing new");
    let early = next(&next(&sound, |_| ()), |row| _ = row.ends.remove(0));
    assert_eq!(contents.swap_shard(id, SHARD, early, OWNER), Err(SwapRefusal::Malformed), "still of use");
    let trimmed = next(&next(&sound, |_| ()), |row| {
        row.checkpoint = Some(checkpoint(3, 45));
        row.segments.remove(0);
        row.ends.clear();
    });
    assert_eq!(contents.swap_shard(id, SHARD, trimmed, OWNER), Ok(()), "the checkpoint stands for them");
}

#[test]
fn an_end_may_stand_for_ownerships_that_wrote_nothing() {
    let (mut contents, id, row) = owned();
    let ended = next(&row, |row| {
        row.segments = vec![segment(1, &[1, 2, 3])];
        row.ends = vec![end(1, 10), end(2, 20)];
    });
    contents.swap_shard(id, SHARD, ended.clone(), OWNER).expect("sound");
    let taken = contents.take_ownership("home", SHARD, OTHER, |_, _| false).expect("owned").row;
    let moved = next(&taken, |row| row.ends = vec![end(1, 10), end(3, 21)]);
    assert_eq!(contents.swap_shard(id, SHARD, moved, OTHER), Err(SwapRefusal::Malformed), "2 ended at 20");
    let merged = next(&taken, |row| row.ends = vec![end(1, 10), end(3, 20)]);
    assert_eq!(contents.swap_shard(id, SHARD, merged.clone(), OTHER), Ok(()));
    let taken = contents.take_ownership("home", SHARD, OWNER, |_, _| false).expect("owned").row;
    let grown = next(&taken, |row| row.ends.push(end(4, 33)));
    assert_eq!(contents.swap_shard(id, SHARD, grown, OWNER), Ok(()));
}

#[test]
fn only_what_is_being_deleted_may_forget_its_log() {
    let (mut contents, id, row) = owned();
    let grown = next(&row, |row| row.segments = vec![segment(1, &[1, 2, 3])]);
    contents.swap_shard(id, SHARD, grown.clone(), OWNER).expect("sound");
    let forgotten = next(&grown, |row| row.segments.clear());
    let swap = |contents: &mut Contents| contents.swap_shard(id, SHARD, forgotten.clone(), OWNER);
    assert_eq!(swap(&mut contents), Err(SwapRefusal::Malformed));
    contents.mark_deleting("home").expect("marked");
    assert_eq!(swap(&mut contents), Ok(()));
}

proptest! {
    #[test]
    fn no_epoch_is_given_twice(
        steps in proptest::collection::vec((0_usize..3, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut contents = fixture::contents();
        let names = ["a", "b", "c"];
        for name in names {
            contents.create(fixture::filesystem(name)).expect("created");
        }
        let mut last = [Epoch::new(0); 3];
        for (filesystem, reopen, other) in steps {
            if reopen {
                contents = Contents::from_bytes(&contents.to_bytes()).expect("decodes");
            }
            let owner = if other { OTHER } else { OWNER };
            let taken = contents.take_ownership(names[filesystem], SHARD, owner, |_, _| false).expect("owned");
            prop_assert!(taken.row.epoch > last[filesystem]);
            prop_assert_eq!(taken.row.owner, owner);
            last[filesystem] = taken.row.epoch;
        }
    }
}
