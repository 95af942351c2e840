use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_engine::Index;
use weft_keys::{EpochSalt, MetadataKey, OwnershipSealer};
use weft_meta::{RowKey, Transaction};
use weft_types::{Epoch, FilesystemId, Inode, MetadataShard, NameHash};
use weft_wire::log::LogKey;

use super::*;

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([1; 16]);
const SHARD: MetadataShard = MetadataShard::new(0);
const EPOCH: Epoch = Epoch::new(3);
const SALT: EpochSalt = EpochSalt::from_bytes([4; 32]);

fn key() -> MetadataKey {
    MetadataKey::from_bytes(&[2; 32])
}

struct World {
    _dir: tempfile::TempDir,
    index: Arc<Index>,
    rows: Rows,
    sealer: Sealer,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("directory");
    let index = Arc::new(
        Index::open(&dir.path().join("index"), LogKey { filesystem: FILESYSTEM, shard: SHARD })
            .expect("opens"),
    );
    let openers = Openers::new(&key(), FILESYSTEM, SHARD, [(EPOCH, SALT)]);
    let rows = Rows::new(Arc::clone(&index), openers, 1);
    let sealer = Sealer::new(OwnershipSealer::new(&key(), FILESYSTEM, SHARD, EPOCH, SALT), SALT);
    World { _dir: dir, index, rows, sealer }
}

impl World {
    fn put(&mut self, key: RowKey, value: &[u8]) -> u64 {
        let mut tx = self.rows.begin();
        tx.put(key, value.to_vec());
        let writes = tx.finish();
        self.rows.commit(writes)
    }

    /// What the committer does with a batch once the log has it.
    fn apply(&mut self) {
        if let Some(taken) = self.rows.take() {
            let batch = self.sealer.seal(taken).expect("seals");
            self.index.apply(std::slice::from_ref(&batch), false).expect("applies");
            self.rows.applied(&batch);
        }
    }
}

/// A few rows of every sealing, in the order of their keys.
fn row(number: u8) -> RowKey {
    let inode = Inode::new(u64::from(number / 4));
    match number % 4 {
        0 => RowKey::Inode(inode),
        1 => RowKey::Dentry { parent: inode, hash: NameHash::new(7).expect("a hash") },
        2 => RowKey::Truncating(inode),
        _ => RowKey::Symlink(inode),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<u8>),
    Delete(u8),
    Discard(u8),
    Take,
    Apply,
    Get(u8),
    Scan(u8, u8, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let row = 0_u8..16;
    prop_oneof![
        4 => (row.clone(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(row, value)| Step::Put(row, value)),
        2 => row.clone().prop_map(Step::Delete),
        1 => row.clone().prop_map(Step::Discard),
        2 => Just(Step::Take),
        2 => Just(Step::Apply),
        4 => row.clone().prop_map(Step::Get),
        3 => (row.clone(), row, 0_usize..8).prop_map(|(from, until, limit)| Step::Scan(from, until, limit)),
    ]
}

fn check(rows: &Rows, model: &BTreeMap<Vec<u8>, Vec<u8>>, step: &Step) {
    let tx = rows.begin();
    match step {
        Step::Get(number) => {
            let key = row(*number);
            assert_eq!(tx.get(&key).expect("reads"), model.get(&key.encode()).cloned());
        }
        Step::Scan(from, until, limit) => {
            let (from, until) = (row(*from).encode(), row(*until).encode());
            let found = tx.scan(&from, &until, *limit).expect("scans");
            let found: Vec<_> = found.into_iter().map(|(key, value)| (key.encode(), value)).collect();
            let all = model.iter().filter(|(key, _)| **key >= from && **key < until).take(*limit);
            assert_eq!(found, all.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_are_the_same_wherever_they_are_on_their_way(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = world();
        let mut model = BTreeMap::new();
        let mut in_flight: Option<Taken> = None;
        for step in &steps {
            match step {
                Step::Put(number, value) => {
                    world.put(row(*number), value);
                    model.insert(row(*number).encode(), value.clone());
                }
                Step::Delete(number) => {
                    let mut tx = world.rows.begin();
                    tx.delete(row(*number));
                    let writes = tx.finish();
                    world.rows.commit(writes);
                    model.remove(&row(*number).encode());
                }
                Step::Discard(number) => {
                    let mut tx = world.rows.begin();
                    tx.put(row(*number), b"refused".to_vec());
                    assert_eq!(tx.get(&row(*number)).expect("reads").as_deref(), Some(&b"refused"[..]));
                    tx.discard_writes();
                    world.rows.commit(tx.finish());
                }
                Step::Take if in_flight.is_none() => in_flight = world.rows.take(),
                Step::Apply => {
                    if let Some(taken) = in_flight.take() {
                        let batch = world.sealer.seal(taken).expect("seals");
                        world.index.apply(std::slice::from_ref(&batch), false).expect("applies");
                        world.rows.applied(&batch);
                    }
                }
                _ => check(&world.rows, &model, step),
            }
        }
    }
}

#[test]
fn an_answer_depends_on_the_batches_that_it_saw_and_on_no_others() {
    let mut world = world();
    assert_eq!(world.put(row(0), b"applied"), 1);
    world.apply();
    assert_eq!(world.put(row(4), b"in flight"), 2);
    let in_flight = world.rows.take().expect("a batch");
    assert_eq!(world.put(row(8), b"filling"), 3);
    let depends = |rows: &mut Rows, key: u8| {
        let tx = rows.begin();
        tx.get(&row(key)).expect("reads");
        let writes = tx.finish();
        rows.commit(writes)
    };
    assert_eq!([0, 4, 8, 12].map(|key| depends(&mut world.rows, key)), [0, 2, 3, 0]);
    let tx = world.rows.begin();
    tx.scan(&row(0).encode(), &row(8).encode(), 1).expect("scans");
    let writes = tx.finish();
    assert_eq!(world.rows.commit(writes), 2, "a scan depends on all of its range");
    let batch = world.sealer.seal(in_flight).expect("seals");
    world.index.apply(std::slice::from_ref(&batch), false).expect("applies");
    world.rows.applied(&batch);
    assert_eq!(depends(&mut world.rows, 4), 0);
}

#[test]
fn what_is_to_be_sealed_is_sealed_and_names_are_padded() {
    let mut world = world();
    for number in 0..4 {
        world.put(row(number), b"a marker in the row");
    }
    world.apply();
    let stored = |number: u8| world.index.get(&row(number).encode()).expect("reads").expect("is there");
    let shows = |number: u8| stored(number).windows(8).any(|window| window == b"a marker");
    assert_eq!([0, 1, 2, 3].map(shows), [false, false, true, false]);
    assert!((stored(1).len() - SealedRow::OVERHEAD).is_multiple_of(weft_keys::PADDED_TO));
}

#[test]
fn a_row_put_in_another_s_place_is_damage() {
    let mut world = world();
    world.put(row(0), b"of inode 0");
    world.put(row(4), b"of inode 1");
    let taken = world.rows.take().expect("a batch");
    let mut batch = world.sealer.seal(taken).expect("seals");
    let (first, second) = batch.rows.split_at_mut(1);
    std::mem::swap(&mut first[0].value, &mut second[0].value);
    world.index.apply(std::slice::from_ref(&batch), false).expect("applies");
    world.rows.applied(&batch);
    world.rows.cache = RefCell::default();
    assert_eq!(world.rows.begin().get(&row(0)), Err(MetaError::Damaged));
}

#[test]
fn without_keys_only_rows_in_clear_are_written_and_read() {
    let mut world = world();
    world.put(row(0), b"sealed");
    world.put(row(2), b"clear");
    world.apply();
    let rows = Rows::new(Arc::clone(&world.index), Openers::default(), 2);
    assert_eq!(rows.begin().get(&row(0)), Err(MetaError::Damaged));
    assert_eq!(rows.begin().get(&row(2)).expect("reads").as_deref(), Some(&b"clear"[..]));
    world.put(row(0), b"again");
    let taken = world.rows.take().expect("a batch");
    assert!(matches!(Sealer::without_keys(EPOCH, SALT).seal(taken), Err(SealError::NoKeys(_))));
}
