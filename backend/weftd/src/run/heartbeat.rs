//! Telling management that a process lives.

use core::time::Duration;
use std::time::SystemTime;

use tokio::time::MissedTickBehavior;
use weft_transport::{Bulk, Peer, Pool};
use weft_types::{NodeId, Timestamp};
use weft_wire::management::{Heartbeat, HeartbeatHeard, NodeReport};

use super::process::Session;

/// Between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A heartbeat that is not answered by then is lost.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The heartbeats of one process.
pub(crate) struct Heart {
    pool: Pool,
    management: Peer,
    node: NodeId,
    container: String,
    started: Timestamp,
}

impl Heart {
    /// Of a process that starts now.
    pub(crate) fn new(session: &Session, pool: Pool) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            pool,
            management: session.management(),
            node: session.identity().node,
            container: session.place.container.name.to_string(),
            started: Timestamp::from_unix(since_epoch),
        }
    }

    /// Beats for ever, and hands on what is answered. Lost heartbeats are logged when the first is lost, not one by one.
    pub(crate) async fn beat<F: Future<Output = ()>>(
        self,
        report: impl Fn() -> NodeReport,
        hear: impl Fn(HeartbeatHeard) -> F,
    ) {
        let mut interval = tokio::time::interval(BEAT_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            interval.tick().await;
            let heartbeat = Heartbeat {
                node: self.node,
                container: self.container.clone(),
                pid: std::process::id(),
                started: self.started,
                report: report(),
            };
            let answer = self.pool.call(&self.management, &heartbeat, Bulk::none(), ANSWER_MAX).await;
            match &answer {
                Ok(_) if !heard => tracing::info!("management hears this process again"),
                Err(error) if heard => {
                    tracing::warn!(
                        error = error as &dyn core::error::Error,
                        "management does not hear this process"
                    );
                }
                _ => {}
            }
            heard = answer.is_ok();
            if let Ok((answer, _)) = answer {
                hear(answer).await;
            }
        }
    }
}
