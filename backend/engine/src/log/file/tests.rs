use super::*;
use crate::conformance::{self, batch};
use weft_keys::EpochSalt;
use weft_types::KeyVersion;

use super::super::RowChange;

const SHARD: MetadataShard = MetadataShard::new(0);
const SMALL: FileLogOptions =
    FileLogOptions { segment_bytes: 8 << 10, headroom_bytes: 0, limit_bytes: u64::MAX };

fn open(dir: &Path) -> Result<FileLog, OpenLogError> {
    FileLog::open(dir, SHARD, SMALL)
}

fn position(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

/// A log of this many batches in one directory.
fn log_of(batches: u64) -> (tempfile::TempDir, FileLog) {
    let dir = tempfile::tempdir().expect("directory");
    let mut log = open(dir.path()).expect("opens");
    log.seal(Epoch::new(1)).expect("seals");
    for seq in 1..=batches {
        log.append(&batch(1, seq), Room::Ample).expect("appends");
    }
    (dir, log)
}

fn all(log: &FileLog) -> Vec<Batch> {
    log.read(Position::default(), usize::MAX).expect("reads")
}

#[test]
fn it_is_a_log() {
    for segment_bytes in [4 << 10, 9 << 20] {
        conformance::log(|shard| {
            let dir = tempfile::tempdir().expect("directory");
            let options = FileLogOptions { segment_bytes, ..SMALL };
            move || FileLog::open(dir.path(), shard, options).expect("opens")
        });
    }
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_record() {
    let (dir, log) = log_of(3);
    let path = log.segments[0].path.clone();
    let end = log.segments[0].end;
    drop(log);
    let whole = fs::read(&path).expect("reads");
    let len = batch(1, 1).encoded_len() as u64;
    for cut in end - 3 * len..=end {
        let mut torn = whole.clone();
        torn[usize::try_from(cut).expect("small")..].fill(0);
        fs::write(&path, &torn).expect("writes");
        let mut log = open(dir.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let kept = 3 - (end - cut).div_ceil(len);
        assert_eq!(log.end().seq, kept, "cut at {cut}");
        log.append(&batch(1, kept + 1), Room::Ample).expect("goes on");
        drop(log);
        assert_eq!(all(&open(dir.path()).expect("opens again")).len() as u64, kept + 1);
    }
}

#[test]
fn a_file_cut_short_is_a_torn_tail_too() {
    let (dir, log) = log_of(2);
    let (path, end) = (log.segments[0].path.clone(), log.segments[0].end);
    drop(log);
    File::options().write(true).open(&path).expect("opens").set_len(end - 1).expect("cuts");
    let mut log = open(dir.path()).expect("opens");
    assert_eq!(log.end(), position(1, 1));
    log.append(&batch(1, 2), Room::Ample).expect("goes on in another segment");
    drop(log);
    assert_eq!(all(&open(dir.path()).expect("opens")), [batch(1, 1), batch(1, 2)]);
}

#[test]
fn any_flipped_byte_is_named_and_nothing_is_cut() {
    let (dir, log) = log_of(3);
    let (path, end) = (log.segments[0].path.clone(), log.segments[0].end);
    drop(log);
    let whole = fs::read(&path).expect("reads");
    for at in 0..usize::try_from(end).expect("small") + 64 {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&path, &flipped).expect("writes");
        match open(dir.path()) {
            Err(OpenLogError::Damaged { path: named, offset, .. }) => {
                assert!(named == path && offset <= at as u64, "byte {at} was reported at {offset}");
            }
            // A stray byte behind the end is the beginning of a record that was never finished.
            Ok(log) => assert!(at as u64 >= end && log.end() == position(1, 3), "byte {at} went unnoticed"),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_record_of_which_only_some_sectors_arrived_is_cut() {
    let (dir, mut log) = log_of(1);
    let value = Some((0..2000_u32).map(|at| (at % 255) as u8 + 1).collect());
    let large = Batch {
        position: position(1, 2),
        salt: EpochSalt::from_bytes([1; 32]),
        key_version: KeyVersion::new(1),
        rows: vec![RowChange { key: vec![1], value }],
    };
    let from = log.segments[0].end;
    log.append(&large, Room::Ample).expect("appends");
    let (path, end) = (log.segments[0].path.clone(), log.segments[0].end);
    drop(log);
    let whole = fs::read(&path).expect("reads");
    for sector in from / 512..=(end - 1) / 512 {
        let mut torn = whole.clone();
        let range = (sector * 512).max(from)..(sector * 512 + 512).min(end);
        torn[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")]
            .fill(0);
        fs::write(&path, &torn).expect("writes");
        let log = open(dir.path()).unwrap_or_else(|error| panic!("sector {sector}: {error}"));
        assert_eq!(all(&log), [batch(1, 1)], "sector {sector}");
        assert!(
            fs::read(&path).expect("reads")[usize::try_from(from).expect("small")..].iter().all(|b| *b == 0)
        );
    }
}

#[test]
fn damage_in_an_earlier_segment_is_never_a_torn_tail() {
    let (dir, log) = log_of(200);
    assert!(log.segments.len() > 3);
    let (path, end) = (log.segments[1].path.clone(), log.segments[1].end);
    let missing = log.segments[2].path.clone();
    drop(log);
    let whole = fs::read(&path).expect("reads");
    let mut cut = whole.clone();
    cut[usize::try_from(end).expect("small") - 1..].fill(0);
    fs::write(&path, &cut).expect("writes");
    assert!(matches!(open(dir.path()), Err(OpenLogError::Damaged { path: named, .. }) if named == path));
    // Without its last record it is whole in itself, but the next one does not follow it.
    let len = batch(1, 100).encoded_len();
    cut[usize::try_from(end).expect("small") - len..].fill(0);
    fs::write(&path, &cut).expect("writes");
    assert!(matches!(open(dir.path()), Err(OpenLogError::Damaged { path: named, .. }) if named == missing));
    fs::write(&path, &whole).expect("writes");
    open(dir.path()).expect("opens");
    fs::remove_file(&missing).expect("removes");
    assert!(matches!(open(dir.path()), Err(OpenLogError::Missing { path }) if path == missing));
}

#[test]
fn a_log_is_opened_by_one_process_and_for_its_own_shard() {
    let (dir, log) = log_of(1);
    assert!(matches!(open(dir.path()), Err(OpenLogError::InUse { .. })));
    drop(log);
    let other = FileLog::open(dir.path(), MetadataShard::new(1), SMALL);
    assert!(matches!(other, Err(OpenLogError::OtherShard { .. })));
}

#[test]
fn a_newer_format_is_left_alone() {
    let (dir, log) = log_of(1);
    let path = log.segments[0].path.clone();
    drop(log);
    let mut bytes = fs::read(&path).expect("reads");
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..80]);
    bytes[80..84].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("writes");
    assert!(matches!(open(dir.path()), Err(OpenLogError::NewerFormat { found: 2, .. })));
}

#[test]
fn without_headroom_only_the_reserve_is_offered() {
    let (dir, log) = log_of(1);
    drop(log);
    let options = FileLogOptions { headroom_bytes: u64::MAX, ..SMALL };
    let mut log = FileLog::open(dir.path(), SHARD, options).expect("opens");
    assert_eq!(log.room(1000).expect("asks"), Room::Reserve);
}

/// Appends until there is no space.
fn use_up(log: &mut FileLog, from: Room) -> u64 {
    let mut seq = log.end().seq;
    loop {
        match log.append(&batch(1, seq + 1), from) {
            Ok(position) => seq = position.seq,
            Err(AppendError::NoSpace) => return seq,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_reserve_is_kept_for_those_who_may_use_it() {
    let dir = tempfile::tempdir().expect("directory");
    let full = FileLogOptions { limit_bytes: 4 * SMALL.segment_bytes, ..SMALL };
    let mut log = FileLog::open(dir.path(), SHARD, full).expect("opens");
    log.seal(Epoch::new(1)).expect("seals");
    assert_eq!(log.room(1000).expect("asks"), Room::Ample);
    let kept = use_up(&mut log, Room::Ample);
    assert_eq!(log.room(8000).expect("asks"), Room::Reserve);
    let more = use_up(&mut log, Room::Reserve);
    assert!(more > kept, "the reserve holds {kept} to {more}");
    assert_eq!(log.room(8000).expect("asks"), Room::None);
    log.trim(position(1, kept)).expect("trims");
    assert_eq!(log.room(8000).expect("asks"), Room::Ample);
    log.append(&batch(1, more + 1), Room::Ample).expect("goes on");
    drop(log);
    let log = FileLog::open(dir.path(), SHARD, full).expect("opens");
    assert_eq!(log.end(), position(1, more + 1));
}
