//! The shard's row, changed by compare-and-swap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use weft_wire::ownership::ShardRow;

use super::ReplicatedLog;
use crate::{Deposed, LogDrives, ShardRegistry, SwapError};

/// How long to wait before a swap whose outcome is unknown is sent again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why the row was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// Whether it was changed may be unknown.
    #[error("the shard's row cannot be changed: {0}")]
    Unavailable(String),
}

#[derive(Debug)]
struct Known {
    current: Arc<ShardRow>,
    /// A swap that was sent and whose outcome is unknown. Until it is known nothing may rest on the row that it would
    /// replace.
    open: Option<ShardRow>,
}

/// The row, as far as it is known.
#[derive(Debug)]
pub(super) struct RowCell {
    known: tokio::sync::Mutex<Known>,
    view: Mutex<Arc<ShardRow>>,
}

impl RowCell {
    pub(super) fn new(row: ShardRow) -> Self {
        let current = Arc::new(row);
        Self {
            view: Mutex::new(Arc::clone(&current)),
            known: tokio::sync::Mutex::new(Known { current, open: None }),
        }
    }

    pub(super) fn view(&self) -> Arc<ShardRow> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<D: LogDrives, R: ShardRegistry> ReplicatedLog<D, R> {
    /// Replaces the row by what `next` makes of it, until `next` makes nothing more of it. On return no outcome is
    /// open. `next` is asked again after the row turned out to be another than was thought.
    pub(super) async fn change_row(
        &self,
        next: impl Fn(&ShardRow) -> Option<ShardRow> + Send,
    ) -> Result<Arc<ShardRow>, RowError> {
        self.check()?;
        let mut known = self.row.known.lock().await;
        self.resolve(&mut known).await?;
        while let Some(mut row) = next(&known.current) {
            row.version = known.current.version + 1;
            // Noted before it is sent: this future may be dropped at any time.
            known.open = Some(row);
            self.resolve(&mut known).await?;
        }
        Ok(Arc::clone(&known.current))
    }

    /// Sends the open swap until its outcome is known.
    async fn resolve(&self, known: &mut Known) -> Result<(), RowError> {
        let until = Instant::now() + self.settings.patience;
        while let Some(row) = known.open.clone() {
            let outcome = timeout(self.settings.call, self.registry.swap(row.clone())).await;
            let reason = match outcome {
                Ok(Ok(())) => {
                    self.learn(known, row);
                    continue;
                }
                Ok(Err(SwapError::Deposed { by })) => return Err(self.depose(by).into()),
                Ok(Err(SwapError::Changed { .. })) => match self.ask_row(known).await? {
                    None => continue,
                    Some(reason) => reason,
                },
                Ok(Err(error @ (SwapError::NotFound | SwapError::Malformed))) => {
                    known.open = None;
                    return Err(RowError::Unavailable(error.to_string()));
                }
                Ok(Err(SwapError::Unknown { reason })) => reason,
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() >= until {
                return Err(RowError::Unavailable(reason));
            }
            sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Takes the row that the cluster store has, if it is past what the open swap was to replace: then the swap was
    /// done, or never will be. Answers why the outcome stays open.
    async fn ask_row(&self, known: &mut Known) -> Result<Option<String>, RowError> {
        let reply = match timeout(self.settings.call, self.registry.row()).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(SwapError::Deposed { by })) => return Err(self.depose(by).into()),
            Ok(Err(error)) => return Ok(Some(error.to_string())),
            Err(_) => return Ok(Some("no answer in time".to_owned())),
        };
        if reply.row.epoch != self.epoch {
            return Err(self.depose(reply.row.epoch).into());
        }
        self.take_grants(reply.grants);
        if reply.row.version <= known.current.version {
            return Ok(Some("the row that was answered is old".to_owned()));
        }
        self.learn(known, reply.row);
        Ok(None)
    }

    fn learn(&self, known: &mut Known, row: ShardRow) {
        known.current = Arc::new(row);
        known.open = None;
        *self.row.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known.current);
    }
}
