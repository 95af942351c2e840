//! What every log must do: one suite for all of them, replay into an index included.
//!
//! A log is given as a factory of openers. Each call of an opener opens the same log again; the one before it was
//! dropped without any farewell, as a killed process does.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use weft_keys::EpochSalt;
use weft_types::{Epoch, KeyVersion, MetadataShard, Position};

use crate::{AppendError, Batch, Index, Log, ReadError, Room, RowChange, SealError, TrimError, recover};

const SHARD: MetadataShard = MetadataShard::new(0);
const ENOUGH: usize = 1 << 20;

/// Runs the whole suite; panics where the log falls short.
pub fn log<L: Log, O: Fn() -> L>(make: impl Fn(MetadataShard) -> O) {
    an_empty_log_is_at_its_start(&make(SHARD));
    batches_come_back_in_order_and_after_a_restart(&make(SHARD));
    only_the_next_batch_is_taken(&make(SHARD));
    a_repeated_batch_counts_once(&make(SHARD));
    an_earlier_ownership_appends_nothing(&make(SHARD));
    reading_goes_on_where_it_stopped(&make(SHARD));
    a_trimmed_log_says_where_it_begins(&make(SHARD));
    a_batch_over_the_bound_is_refused(&make(SHARD));
    replay_makes_the_index_what_the_batches_say(&make);
}

fn position(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

/// A batch with one row whose value tells who wrote it.
pub(crate) fn batch(epoch: u64, seq: u64) -> Batch {
    let value = Some(format!("{epoch}.{seq}").into_bytes());
    batch_of(position(epoch, seq), vec![RowChange { key: seq.to_be_bytes().to_vec(), value }])
}

fn batch_of(position: Position, rows: Vec<RowChange>) -> Batch {
    let byte = u8::try_from(position.epoch.get()).expect("small");
    Batch { position, salt: EpochSalt::from_bytes([byte; 32]), key_version: KeyVersion::new(1), rows }
}

fn append(log: &mut impl Log, batch: &Batch) {
    assert_eq!(log.append(batch, Room::Ample).expect("appends"), batch.position);
}

fn an_empty_log_is_at_its_start<L: Log>(open: &impl Fn() -> L) {
    let log = open();
    assert_eq!((log.start(), log.end()), (Position::default(), Position::default()));
    assert_eq!(log.read(Position::default(), ENOUGH).expect("reads"), []);
    assert!(matches!(log.read(position(0, 1), ENOUGH), Err(ReadError::NoSuchPosition(_))));
}

fn batches_come_back_in_order_and_after_a_restart<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    append(&mut log, &batch(1, 1));
    append(&mut log, &batch(1, 2));
    drop(log);
    let mut log = open();
    assert_eq!((log.end(), log.epoch()), (position(1, 2), Epoch::new(1)));
    assert_eq!(log.seal(Epoch::new(2)).expect("seals"), position(1, 2));
    append(&mut log, &batch(2, 3));
    drop(log);
    let log = open();
    let all = [batch(1, 1), batch(1, 2), batch(2, 3)];
    assert_eq!(log.read(Position::default(), ENOUGH).expect("reads"), all);
    assert_eq!(log.read(position(1, 2), ENOUGH).expect("reads"), all[2..]);
    assert_eq!(log.read(position(2, 3), ENOUGH).expect("reads"), []);
}

fn only_the_next_batch_is_taken<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    append(&mut log, &batch(1, 1));
    for wrong in [batch(1, 3), batch(2, 2), batch(1, 0)] {
        let error = log.append(&wrong, Room::Ample).expect_err("out of order");
        assert!(
            matches!(error, AppendError::OutOfOrder { expected, .. } if expected == position(1, 2)),
            "{error}"
        );
    }
    append(&mut log, &batch(1, 2));
}

fn a_repeated_batch_counts_once<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    append(&mut log, &batch(1, 1));
    append(&mut log, &batch(1, 2));
    append(&mut log, &batch(1, 2));
    drop(log);
    let mut log = open();
    append(&mut log, &batch(1, 2));
    let other = batch_of(position(1, 2), Vec::new());
    assert!(matches!(log.append(&other, Room::Ample), Err(AppendError::Conflict(_))));
    assert_eq!(log.read(Position::default(), ENOUGH).expect("reads"), [batch(1, 1), batch(1, 2)]);
}

fn an_earlier_ownership_appends_nothing<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    append(&mut log, &batch(1, 1));
    log.seal(Epoch::new(3)).expect("seals");
    log.seal(Epoch::new(3)).expect("seals again");
    assert!(matches!(log.seal(Epoch::new(2)), Err(SealError::Deposed(_))));
    drop(log);
    let mut log = open();
    assert_eq!(log.epoch(), Epoch::new(3), "a seal outlives the process");
    for old in [batch(1, 2), batch(2, 2), batch(1, 1)] {
        assert!(matches!(log.append(&old, Room::Ample), Err(AppendError::Deposed(_))));
    }
    append(&mut log, &batch(3, 2));
    assert!(matches!(log.read(position(2, 1), ENOUGH), Err(ReadError::NoSuchPosition(_))));
}

fn reading_goes_on_where_it_stopped<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    (1..=50).for_each(|seq| append(&mut log, &batch(1, seq)));
    for budget in [0, 300, ENOUGH] {
        let mut after = Position::default();
        let mut read = Vec::new();
        loop {
            let page = log.read(after, budget).expect("reads");
            let Some(last) = page.last() else { break };
            after = last.position;
            assert!(budget > 0 || page.len() == 1);
            read.extend(page);
        }
        assert_eq!(read, (1..=50).map(|seq| batch(1, seq)).collect::<Vec<_>>());
    }
}

fn a_trimmed_log_says_where_it_begins<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    (1..=400).for_each(|seq| append(&mut log, &batch(1, seq)));
    assert!(matches!(log.trim(position(1, 401)), Err(TrimError::NoSuchPosition(_))));
    log.trim(position(1, 300)).expect("trims");
    let start = log.start();
    assert!(start.seq <= 300, "what is after the position stays");
    log.trim(position(1, 2)).expect("trims nothing");
    assert_eq!(log.start(), start);
    drop(log);
    let mut log = open();
    assert_eq!((log.start(), log.end()), (start, position(1, 400)));
    assert_eq!(log.read(position(1, 300), ENOUGH).expect("reads").len(), 100);
    if start.seq > 0 {
        assert!(matches!(log.read(Position::default(), ENOUGH), Err(ReadError::Trimmed { .. })));
    }
    append(&mut log, &batch(1, 401));
}

fn a_batch_over_the_bound_is_refused<L: Log>(open: &impl Fn() -> L) {
    let mut log = open();
    log.seal(Epoch::new(1)).expect("seals");
    let row = RowChange { key: vec![1], value: Some(vec![0; crate::BATCH_BYTES_MAX]) };
    let error = log.append(&batch_of(position(1, 1), vec![row]), Room::Ample).expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    append(&mut log, &batch(1, 1));
}

/// What happens to a log and its index.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of these rows; small keys, so that they meet.
    Append(Vec<(u8, Option<u8>)>),
    /// The index applies all batches so far.
    Apply { durable: bool },
    /// The process is killed and comes back under a new epoch.
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::vec((0_u8..8, any::<Option<u8>>()), 0..5);
    prop_oneof![
        4 => rows.prop_map(Step::Append),
        2 => any::<bool>().prop_map(|durable| Step::Apply { durable }),
        1 => Just(Step::Restart),
    ]
}

fn replay_makes_the_index_what_the_batches_say<L: Log, O: Fn() -> L>(make: &impl Fn(MetadataShard) -> O) {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let steps = prop::collection::vec(any_step(), 1..40);
    let outcome = runner.run(&steps, |steps| {
        run_steps(&make(SHARD), &steps);
        Ok(())
    });
    outcome.expect("replay holds");
}

fn run_steps<L: Log>(open: &impl Fn() -> L, steps: &[Step]) {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("index");
    let mut model = std::collections::BTreeMap::new();
    let mut epoch = 1;
    let mut log = open();
    log.seal(Epoch::new(epoch)).expect("seals");
    let mut index = recover(&log, &path).expect("recovers").index;
    for step in steps {
        match step {
            Step::Append(rows) => {
                let change = |(key, value): &(u8, Option<u8>)| RowChange {
                    key: vec![*key],
                    value: value.map(|value| vec![value]),
                };
                let position = position(epoch, log.end().seq + 1);
                append(&mut log, &batch_of(position, rows.iter().map(change).collect()));
                for (key, value) in rows {
                    match value {
                        Some(value) => model.insert(vec![*key], vec![*value]),
                        None => model.remove(&vec![*key]),
                    };
                }
            }
            Step::Apply { durable } => {
                let batches = log.read(index.applied(), ENOUGH).expect("reads");
                index.apply(&batches, *durable).expect("applies");
            }
            Step::Restart => {
                drop((log, index));
                epoch += 1;
                log = open();
                log.seal(Epoch::new(epoch)).expect("seals");
                index = recover(&log, &path).expect("recovers").index;
                assert_index(&index, &model, log.end());
            }
        }
    }
    drop(index);
    assert_index(&recover(&log, &path).expect("recovers").index, &model, log.end());
}

fn assert_index(index: &Index, model: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>, end: Position) {
    assert_eq!(index.applied(), end);
    let rows = index.scan(&[], None, usize::MAX).expect("scans");
    assert_eq!(rows, model.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
}
