//! What every log must do: one suite for all of them, replay into an index included.
//!
//! A log is given as a factory of owners: each call of the inner one begins the next ownership of the same log. The one
//! before it was dropped without any farewell, as a killed process does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use weft_keys::EpochSalt;
use weft_types::{Epoch, KeyVersion, Position};

use crate::{AppendError, Batch, Index, ReadError, RowChange, ShardLog, recover_index};

const ENOUGH: usize = 1 << 20;

/// Runs the whole suite; panics where the log falls short.
pub(crate) async fn log<L: ShardLog, O: AsyncFn() -> L>(make: impl Fn() -> O) {
    an_empty_log_is_at_its_start(&make()).await;
    batches_come_back_in_order_and_under_the_next_owner(&make()).await;
    only_the_next_batch_is_taken(&make()).await;
    a_repeated_batch_counts_once(&make()).await;
    reading_goes_on_where_it_stopped(&make()).await;
    a_checkpoint_says_where_the_log_begins(&make()).await;
    a_batch_over_the_bound_is_refused(&make()).await;
    replay_makes_the_index_what_the_batches_say(&make).await;
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

async fn append(log: &impl ShardLog, batch: &Batch) {
    assert_eq!(log.append(batch).await.expect("appends"), batch.position);
}

async fn an_empty_log_is_at_its_start<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    assert_eq!((log.start(), log.end()), (Position::default(), Position::default()));
    assert_eq!(log.read(Position::default(), ENOUGH).await.expect("reads"), []);
    assert!(matches!(log.read(position(1, 1), ENOUGH).await, Err(ReadError::NoSuchPosition(_))));
}

async fn batches_come_back_in_order_and_under_the_next_owner<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    append(&log, &batch(1, 1)).await;
    append(&log, &batch(1, 2)).await;
    drop(log);
    let log = owner().await;
    assert_eq!((log.end(), log.epoch()), (position(1, 2), Epoch::new(2)));
    append(&log, &batch(2, 3)).await;
    drop(log);
    let log = owner().await;
    let all = [batch(1, 1), batch(1, 2), batch(2, 3)];
    assert_eq!(log.read(Position::default(), ENOUGH).await.expect("reads"), all);
    assert_eq!(log.read(position(1, 2), ENOUGH).await.expect("reads"), all[2..]);
    assert_eq!(log.read(position(2, 3), ENOUGH).await.expect("reads"), []);
    assert!(matches!(log.read(position(2, 2), ENOUGH).await, Err(ReadError::NoSuchPosition(_))));
}

async fn only_the_next_batch_is_taken<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    append(&log, &batch(1, 1)).await;
    for wrong in [batch(1, 3), batch(2, 2), batch(1, 0)] {
        let error = log.append(&wrong).await.expect_err("out of order");
        let expected = position(1, 2);
        assert!(
            matches!(error, AppendError::OutOfOrder { expected: found, .. } if found == expected),
            "{error}"
        );
    }
    append(&log, &batch(1, 2)).await;
    let log = owner().await;
    assert!(matches!(log.append(&batch(1, 3)).await, Err(AppendError::Deposed(_))));
}

async fn a_repeated_batch_counts_once<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    for batch in [batch(1, 1), batch(1, 2), batch(1, 2)] {
        append(&log, &batch).await;
    }
    let other = batch_of(position(1, 2), Vec::new());
    assert!(matches!(log.append(&other).await, Err(AppendError::Conflict(_))));
    assert_eq!(log.read(Position::default(), ENOUGH).await.expect("reads"), [batch(1, 1), batch(1, 2)]);
}

async fn reading_goes_on_where_it_stopped<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    for seq in 1..=50 {
        append(&log, &batch(1, seq)).await;
    }
    for budget in [0, 300, ENOUGH] {
        let mut after = Position::default();
        let mut read = Vec::new();
        loop {
            let page = log.read(after, budget).await.expect("reads");
            let Some(last) = page.last() else { break };
            after = last.position;
            assert!(budget > 0 || page.len() == 1);
            read.extend(page);
        }
        assert_eq!(read, (1..=50).map(|seq| batch(1, seq)).collect::<Vec<_>>());
    }
}

async fn a_checkpoint_says_where_the_log_begins<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let dir = tempfile::tempdir().expect("directory");
    let log = owner().await;
    for seq in 1..=40 {
        append(&log, &batch(1, seq)).await;
    }
    let index = recover_index(&log, &dir.path().join("index")).await.expect("recovers").index;
    append(&log, &batch(1, 41)).await;
    log.checkpoint(&index).await.expect("writes");
    log.maintain().await.expect("trims");
    for (turn, log) in [log, owner().await].into_iter().enumerate() {
        assert_eq!((log.start(), log.end()), (position(1, 40), position(1, 41)));
        assert_eq!(log.read(position(1, 40), ENOUGH).await.expect("reads"), [batch(1, 41)]);
        assert!(matches!(log.read(position(1, 39), ENOUGH).await, Err(ReadError::Trimmed { .. })));
        let path = dir.path().join(format!("new{turn}"));
        let recovered = recover_index(&log, &path).await.expect("recovers");
        assert_eq!((recovered.replayed, recovered.set_aside), (1, None));
        assert_eq!(recovered.index.scan(&[], None, 99).expect("scans").len(), 41);
    }
}

async fn a_batch_over_the_bound_is_refused<L: ShardLog>(owner: &impl AsyncFn() -> L) {
    let log = owner().await;
    let row = RowChange { key: vec![1], value: Some(vec![0; crate::BATCH_BYTES_MAX]) };
    let error = log.append(&batch_of(position(1, 1), vec![row])).await.expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    append(&log, &batch(1, 1)).await;
}

/// What happens to a log and its index.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of these rows; small keys, so that they meet.
    Append(Vec<(u8, Option<u8>)>),
    /// The index applies all batches so far.
    Apply { durable: bool },
    /// A checkpoint of the index as it is.
    Checkpoint,
    /// The process is killed and comes back under a new epoch; its index may be lost.
    Restart { lost: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::vec((0_u8..8, any::<Option<u8>>()), 0..5);
    prop_oneof![
        4 => rows.prop_map(Step::Append),
        2 => any::<bool>().prop_map(|durable| Step::Apply { durable }),
        1 => Just(Step::Checkpoint),
        1 => any::<bool>().prop_map(|lost| Step::Restart { lost }),
    ]
}

async fn replay_makes_the_index_what_the_batches_say<L: ShardLog, O: AsyncFn() -> L>(make: &impl Fn() -> O) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let steps = prop::collection::vec(any_step(), 1..30);
    for _ in 0..12 {
        let steps = steps.new_tree(&mut runner).expect("generates").current();
        run_steps(&make(), &steps).await;
    }
}

async fn run_steps<L: ShardLog>(owner: &impl AsyncFn() -> L, steps: &[Step]) {
    let context = format!("{steps:?}");
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("index");
    let mut model = BTreeMap::new();
    let mut log = owner().await;
    let mut index = recover_index(&log, &path).await.expect("recovers").index;
    for step in steps {
        match step {
            Step::Append(rows) => {
                let change = |(key, value): &(u8, Option<u8>)| RowChange {
                    key: vec![*key],
                    value: value.map(|value| vec![value]),
                };
                let position = Position { epoch: log.epoch(), seq: log.end().seq + 1 };
                append(&log, &batch_of(position, rows.iter().map(change).collect())).await;
                for (key, value) in rows {
                    match value {
                        Some(value) => model.insert(vec![*key], vec![*value]),
                        None => model.remove(&vec![*key]),
                    };
                }
            }
            Step::Apply { durable } => {
                let batches = log.read(index.applied(), ENOUGH).await.expect("reads");
                index.apply(&batches, *durable).expect("applies");
            }
            Step::Checkpoint => {
                log.checkpoint(&index).await.expect("writes");
                log.maintain().await.expect("trims");
            }
            Step::Restart { lost } => {
                drop((log, index));
                if *lost {
                    std::fs::remove_file(&path).expect("removes");
                }
                log = owner().await;
                index = recover_index(&log, &path).await.expect("recovers").index;
                assert_index(&index, &model, log.end(), &context);
            }
        }
    }
    drop(index);
    assert_index(&recover_index(&log, &path).await.expect("recovers").index, &model, log.end(), &context);
}

fn assert_index(index: &Index, model: &BTreeMap<Vec<u8>, Vec<u8>>, end: Position, context: &str) {
    assert_eq!(index.applied(), end, "{context}");
    let rows = index.scan(&[], None, usize::MAX).expect("scans");
    let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(rows, expected, "{context}");
}
