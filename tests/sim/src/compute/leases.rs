//! The leases of a process: renewed every second, as a compute process does it, by a clock of its own.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::Process;
use crate::world::World;

impl Process {
    /// What this process's clock makes of a time that management gave.
    pub(super) fn lease_of(&self, milliseconds: u32) -> Duration {
        Duration::from_millis(self.milliseconds(milliseconds))
    }

    fn milliseconds(&self, given: u32) -> u64 {
        u64::from(given) * u64::from(self.rate) / 1000
    }

    /// Renews, for ever.
    pub(super) async fn renew(&self, world: &Arc<World>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let Some(call) = self.leases.call() else { continue };
            let (asked, node, sent) = (Instant::now(), self.node, call.clone());
            let answer = world
                .to_manager(&self.endpoint, Duration::from_secs(5), move |management| {
                    let answer = management.renew(&sent, node);
                    async move { answer }
                })
                .await;
            let Ok(mut answer) = answer else { continue };
            answer.lease_ms = u32::try_from(self.milliseconds(answer.lease_ms)).unwrap_or(u32::MAX);
            self.leases.heard(&call, asked, &answer);
        }
    }
}
