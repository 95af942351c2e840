use super::*;
use crate::RowChange;
use crate::conformance::batch;

const SHARD: LogKey = LogKey { filesystem: FilesystemId::from_bytes([3; 16]), shard: MetadataShard::new(2) };

fn position(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

fn put(position: Position, rows: &[(&[u8], Option<&[u8]>)]) -> Batch {
    let change =
        |(key, value): &(&[u8], Option<&[u8]>)| RowChange { key: key.to_vec(), value: value.map(Vec::from) };
    Batch { rows: rows.iter().map(change).collect(), ..batch(position.epoch.get(), position.seq) }
}

#[test]
fn rows_are_found_alone_and_in_ranges() {
    let dir = tempfile::tempdir().expect("directory");
    let index = Index::open(&dir.path().join("index"), SHARD).expect("opens");
    let rows: [(&[u8], Option<&[u8]>); 4] =
        [(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3")), (b"a", None)];
    index.apply(&[put(position(1, 1), &rows)], false).expect("applies");
    assert_eq!(index.get(b"a").expect("reads"), None);
    assert_eq!(index.get(b"b").expect("reads").as_deref(), Some(&b"2"[..]));
    let keys = |from: &[u8], until: Option<&[u8]>, limit| -> Vec<u8> {
        index.scan(from, until, limit).expect("scans").iter().map(|(key, _)| key[0]).collect()
    };
    assert_eq!(keys(b"", None, 9), b"bc");
    assert_eq!(keys(b"", None, 1), b"b");
    assert_eq!(keys(b"b", Some(b"c"), 9), b"b");
    assert_eq!(keys(b"c", Some(b"b"), 9), b"");
}

#[test]
fn only_the_next_batch_is_applied_and_all_or_none() {
    let dir = tempfile::tempdir().expect("directory");
    let index = Index::open(&dir.path().join("index"), SHARD).expect("opens");
    index.apply(&[put(position(2, 1), &[])], false).expect("applies");
    for wrong in [position(2, 1), position(2, 3), position(1, 2)] {
        let batches = [put(position(2, 2), &[(b"k", Some(b"v"))]), put(wrong, &[])];
        assert!(matches!(index.apply(&batches[1..], false), Err(IndexError::OutOfOrder { .. })));
        let both = [batches[0].clone(), put(position(2, 4), &[])];
        assert!(matches!(index.apply(&both, false), Err(IndexError::OutOfOrder { .. })));
    }
    assert_eq!((index.applied(), index.get(b"k").expect("reads")), (position(2, 1), None));
}

#[test]
fn what_was_applied_durably_is_there_again_with_its_salts() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("index");
    let index = Index::open(&path, SHARD).expect("opens");
    index.apply(&[put(position(1, 1), &[(b"k", Some(b"v"))])], true).expect("applies");
    index.apply(&[put(position(3, 2), &[])], true).expect("applies");
    drop(index);
    let mut index = Index::open(&path, SHARD).expect("opens");
    index.check().expect("whole");
    assert_eq!(index.applied(), position(3, 2));
    assert_eq!(index.get(b"k").expect("reads").as_deref(), Some(&b"v"[..]));
    let salt = |epoch: u8| (Epoch::new(epoch.into()), EpochSalt::from_bytes([epoch; 32]), KeyVersion::new(1));
    assert_eq!(index.salts().expect("reads"), [salt(1), salt(3)]);
    drop(index);
    let (other, shard) = (FilesystemId::from_bytes([4; 16]), MetadataShard::new(0));
    for other in [LogKey { filesystem: other, ..SHARD }, LogKey { shard, ..SHARD }] {
        assert!(matches!(Index::open(&path, other), Err(OpenIndexError::OtherShard { .. })));
    }
}

#[test]
fn after_a_crash_it_stands_at_a_durable_position() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("index");
    let index = Index::open(&path, SHARD).expect("opens");
    index.apply(&[put(position(1, 1), &[(b"k", Some(b"old"))])], true).expect("applies");
    index.apply(&[put(position(1, 2), &[(b"k", Some(b"new"))])], false).expect("applies");
    // The bytes as another process would find them if this one were killed now.
    let crashed = dir.path().join("crashed");
    std::fs::copy(&path, &crashed).expect("copies");
    let crashed = Index::open(&crashed, SHARD).expect("opens");
    assert_eq!(crashed.applied(), position(1, 1));
    assert_eq!(crashed.get(b"k").expect("reads").as_deref(), Some(&b"old"[..]));
    assert_eq!(index.get(b"k").expect("reads").as_deref(), Some(&b"new"[..]));
}
