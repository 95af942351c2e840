//! The leases of a process: renewed every second, as a compute process does it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::{Instant, sleep};
use weft_compute::Lease;
use weft_wire::ownership::{self, RenewOwnerships};

use super::Process;
use crate::world::World;

/// Ownerships that are held, and those that were let go of and management was not told of yet.
#[derive(Default)]
pub(super) struct Held(Mutex<State>);

#[derive(Default)]
struct State {
    held: BTreeMap<ownership::Held, Weak<Lease>>,
    released: Vec<ownership::Held>,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, lease: &Arc<Lease>) {
        self.state().held.insert(lease.held(), Arc::downgrade(lease));
    }

    pub(super) fn release(&self, lease: &Lease) {
        lease.end();
        let mut state = self.state();
        if state.held.remove(&lease.held()).is_some() {
            state.released.push(lease.held());
        }
    }

    fn call(&self) -> Option<RenewOwnerships> {
        let mut state = self.state();
        state.held.retain(|_, lease| lease.strong_count() > 0);
        let (held, released): (Vec<_>, _) = (state.held.keys().copied().collect(), state.released.clone());
        (!held.is_empty() || !released.is_empty()).then_some(RenewOwnerships { held, released })
    }
}

impl Process {
    /// What this process's clock makes of a time that management gave.
    pub(super) fn lease_of(&self, milliseconds: u32) -> Duration {
        Duration::from_millis(u64::from(milliseconds) * u64::from(self.rate) / 1000)
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
            let Ok(answer) = answer else { continue };
            let mut state = self.leases.state();
            state.released.retain(|released| !call.released.contains(released));
            for held in &call.held {
                let Some(lease) = state.held.get(held).and_then(Weak::upgrade) else { continue };
                if answer.deposed.contains(held) {
                    lease.depose();
                    state.held.remove(held);
                } else {
                    lease.renew(asked, self.lease_of(answer.lease_ms));
                }
            }
        }
    }
}
