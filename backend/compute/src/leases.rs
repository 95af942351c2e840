//! Keeping this process's ownerships alive, and letting go of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use weft_wire::ownership::{Held, OwnershipsRenewed, RenewOwnerships};

use crate::cluster::Cluster;
use crate::owner::Lease;

/// How often ownerships are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// The ownerships of this process: those that are being taken over, that serve, and that drop their filesystem.
#[derive(Debug, Default)]
pub struct Leases(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Held, Weak<Lease>>,
    /// Let go of, and management was not told yet.
    released: Vec<Held>,
}

impl Leases {
    /// Keeps a lease alive for as long as somebody has it.
    pub fn keep(&self, lease: &Arc<Lease>) {
        self.state().held.insert(lease.held(), Arc::downgrade(lease));
    }

    /// Nothing is answered under the lease any more; management is told with the next renewal.
    pub fn release(&self, lease: &Lease) {
        lease.end();
        let mut state = self.state();
        if state.held.remove(&lease.held()).is_some() {
            state.released.push(lease.held());
        }
    }

    /// What management is to be told: `None` when there is nothing to tell.
    pub fn call(&self) -> Option<RenewOwnerships> {
        let mut state = self.state();
        state.held.retain(|_, lease| lease.strong_count() > 0);
        let held: Vec<_> = state.held.keys().copied().collect();
        let released = state.released.clone();
        (!held.is_empty() || !released.is_empty()).then_some(RenewOwnerships { held, released })
    }

    /// What management said to a call that was sent at a moment.
    pub fn heard(&self, call: &RenewOwnerships, asked: Instant, answer: &OwnershipsRenewed) {
        let mut state = self.state();
        state.released.retain(|released| !call.released.contains(released));
        for held in &call.held {
            let Some(lease) = state.held.get(held).and_then(Weak::upgrade) else { continue };
            if answer.deposed.contains(held) {
                tracing::warn!(filesystem = %held.filesystem, epoch = %held.epoch, "another owner has begun");
                lease.depose();
                state.held.remove(held);
            } else {
                lease.renew(asked, Duration::from_millis(answer.lease_ms.into()));
            }
        }
    }

    /// Renews once. Without an answer all stays as it is: what is not renewed runs out by itself.
    pub(crate) async fn renew(&self, cluster: &Cluster) {
        let Some(call) = self.call() else { return };
        let asked = Instant::now();
        match cluster.ask(&call).await {
            Ok(answer) => self.heard(&call, asked, &answer),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "ownerships were not renewed");
            }
        }
    }

    /// Renews, for ever.
    pub(crate) async fn keep_alive(&self, cluster: &Cluster) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.renew(cluster).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::{Epoch, FilesystemId, MetadataShard};
    use weft_wire::Fault;

    fn lease(filesystem: u8, asked: Instant) -> Arc<Lease> {
        let held = Held {
            filesystem: FilesystemId::from_bytes([filesystem; 16]),
            shard: MetadataShard::new(0),
            epoch: Epoch::new(1),
        };
        Arc::new(Lease::new(held, asked, Duration::from_secs(1), asked, Duration::ZERO))
    }

    #[test]
    fn what_is_held_is_renewed_and_what_others_hold_is_over() {
        let asked = Instant::now();
        let (kept, lost) = (lease(1, asked), lease(2, asked));
        let leases = Leases::default();
        leases.keep(&kept);
        leases.keep(&lost);
        let call = leases.call().expect("something to tell");
        assert_eq!(call.held, [kept.held(), lost.held()]);
        let later = asked + Duration::from_secs(5);
        leases.heard(&call, later, &OwnershipsRenewed { lease_ms: 9000, deposed: vec![lost.held()] });
        assert_eq!(kept.check(later), Ok(()));
        assert_eq!(lost.check(asked), Err(Fault::NotServing));
        assert_eq!(leases.call().expect("one is left").held, [kept.held()]);
        drop(kept);
        assert_eq!(leases.call(), None, "nobody has it any more");
    }

    #[test]
    fn what_was_let_go_of_is_told_until_it_is_heard() {
        let asked = Instant::now();
        let released = lease(1, asked);
        let leases = Leases::default();
        leases.keep(&released);
        leases.release(&released);
        assert_eq!(released.check(asked), Err(Fault::NotServing));
        let call = leases.call().expect("to tell");
        assert_eq!((call.held.len(), &call.released[..]), (0, &[released.held()][..]));
        assert_eq!(leases.call().as_ref(), Some(&call), "it was not heard yet");
        leases.heard(&call, asked, &OwnershipsRenewed { lease_ms: 1, deposed: Vec::new() });
        assert_eq!(leases.call(), None);
    }
}
