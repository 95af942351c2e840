//! The log over simulated drives.

mod checkpoints;
mod moving;
mod schedules;
mod sim;
mod takeover;

use weft_keys::EpochSalt;
use weft_types::{KeyVersion, Position};

use crate::{AppendError, Batch, RowChange, ShardLog};
use sim::{Sim, SimLog};

/// The next batch of a log, with one row.
fn next(log: &impl ShardLog, text: &str) -> Batch {
    let position = Position { epoch: log.epoch(), seq: log.end().seq + 1 };
    batch(position, text)
}

fn batch(position: Position, text: &str) -> Batch {
    let byte = u8::try_from(position.epoch.get() % 251).expect("small");
    let key = position.seq.to_be_bytes().to_vec();
    let rows = vec![
        RowChange { key, value: Some(text.as_bytes().to_vec()) },
        RowChange { key: b"last".to_vec(), value: Some(text.as_bytes().to_vec()) },
    ];
    Batch { position, salt: EpochSalt::from_bytes([byte; 32]), key_version: KeyVersion::new(1), rows }
}

async fn append(log: &impl ShardLog, text: &str) -> Result<Batch, AppendError> {
    let batch = next(log, text);
    log.append(&batch).await.map(|_| batch)
}

/// All batches from the log's start on.
async fn contents(log: &impl ShardLog) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    loop {
        let after = all.last().map_or(log.start(), |last| last.position);
        let page = log.read(after, 300).await.expect("reads");
        if page.is_empty() {
            assert_eq!(after, log.end(), "reading ends at the end");
            return all;
        }
        all.extend(page);
    }
}

/// A log of an owner that appended so many batches.
async fn log_of(sim: &Sim, batches: usize) -> (SimLog, Vec<Batch>) {
    let log = sim.take_over().await.expect("takes over");
    let mut all = Vec::new();
    for n in 0..batches {
        all.push(append(&log, &format!("{}.{n}", log.epoch())).await.expect("appends"));
    }
    (log, all)
}

#[tokio::test(start_paused = true)]
async fn it_is_a_log() {
    crate::conformance::log(|| {
        let sim = Sim::new("2+1", 3);
        async move || sim.take_over().await.expect("takes over")
    })
    .await;
}
