//! How long owners may answer without asking again. Pure: time is how long management has run, and an argument.

use core::time::Duration;
use std::collections::BTreeMap;

use weft_types::{FilesystemId, MetadataShard, NodeId};

/// How long an ownership lasts unless it is renewed, counted by its owner from before it asked.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

pub(crate) type Shard = (FilesystemId, MetadataShard);

/// The leases that this process gave. What earlier ones gave is unknown, and ends a [`LEASE`] after this one began:
/// by then it had opened the store, and no other can renew any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases {
    until: BTreeMap<Shard, BTreeMap<NodeId, Duration>>,
}

/// Who had a shard before somebody takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    /// Its owner.
    pub owner: NodeId,
    /// When that one took it, a third may have answered still.
    pub contested: bool,
}

impl Leases {
    /// This node's ownership of the shard lasts for so long from now, at least.
    pub(crate) fn extend(&mut self, shard: Shard, node: NodeId, now: Duration, lease: Duration) {
        let until = self.until.entry(shard).or_default().entry(node).or_default();
        *until = (*until).max(now + lease);
    }

    /// This node answers no more for the shard.
    pub(crate) fn release(&mut self, shard: Shard, node: NodeId, now: Duration) {
        self.until.entry(shard).or_default().insert(node, now);
    }

    /// Whether some owner may answer for the shard.
    pub(crate) fn is_held(&self, shard: Shard, now: Duration) -> bool {
        self.until.get(&shard).map_or(now < LEASE, |nodes| nodes.values().any(|until| *until > now))
    }

    /// How long others than `node` may still answer for a shard that was owned so before.
    pub(crate) fn left(&self, shard: Shard, node: NodeId, before: Option<Before>, now: Duration) -> Duration {
        let Some(before) = before else { return Duration::ZERO };
        let nodes = self.until.get(&shard);
        let of = |node: NodeId| nodes.and_then(|nodes| nodes.get(&node));
        let others = nodes.into_iter().flatten().filter(|(other, _)| **other != node);
        let known = others.map(|(_, until)| until.saturating_sub(now)).max().unwrap_or_default();
        let unheard = before.owner != node && of(before.owner).is_none();
        if unheard || before.contested { known.max(LEASE.saturating_sub(now)) } else { known }
    }

    /// Whether others than `node` may answer after it took a shard that was owned so before, or until then.
    pub(crate) fn is_contested(
        &self,
        shard: Shard,
        node: NodeId,
        before: Option<Before>,
        now: Duration,
    ) -> bool {
        let Some(owner) = before.map(|before| before.owner) else { return false };
        let until = self.until.get(&shard).and_then(|nodes| nodes.get(&owner));
        // Until the takeover is durable the owner may renew, unless it has let go.
        let may_renew = owner != node && until.is_none_or(|until| *until > now);
        may_renew || self.left(shard, node, before, now) > Duration::ZERO
    }

    /// Forgets shards that are gone.
    pub(crate) fn keep(&mut self, is_there: impl Fn(Shard) -> bool) {
        self.until.retain(|shard, _| is_there(*shard));
    }
}

/// How long a renewal may last when the store was last known to be this process's so long ago: another process that
/// opens it waits for a whole [`LEASE`] from then on, so no lease may end later than that.
pub(crate) fn lease_of(confirmed_ago: Duration) -> Duration {
    LEASE.saturating_sub(confirmed_ago)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Shard = (FilesystemId::from_bytes([1; 16]), MetadataShard::new(0));
    const A: NodeId = NodeId::from_bytes([1; 16]);
    const B: NodeId = NodeId::from_bytes([2; 16]);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn before(owner: NodeId, contested: bool) -> Option<Before> {
        Some(Before { owner, contested })
    }

    #[test]
    fn another_owner_is_waited_for_and_a_release_ends_that() {
        let mut leases = Leases::default();
        leases.extend(SHARD, A, s(20), LEASE);
        leases.extend(SHARD, A, s(21), s(2));
        assert_eq!(leases.left(SHARD, B, before(A, false), s(24)), s(6), "a shorter one takes nothing back");
        assert_eq!(leases.left(SHARD, A, before(A, false), s(24)), s(0), "not for oneself");
        assert!(leases.is_contested(SHARD, B, before(A, false), s(24)));
        assert!(leases.is_held(SHARD, s(29)) && !leases.is_held(SHARD, s(30)));
        leases.extend(SHARD, B, s(24), LEASE);
        assert_eq!(leases.left(SHARD, B, before(B, true), s(25)), s(5), "B again, and A may answer still");
        leases.release(SHARD, A, s(25));
        assert_eq!(leases.left(SHARD, B, before(A, false), s(25)), s(0));
        assert!(!leases.is_contested(SHARD, B, before(A, false), s(25)));
        assert_eq!(leases.left(SHARD, B, None, s(0)), s(0), "the first owner waits for nobody");
    }

    #[test]
    fn after_a_restart_everyone_else_may_have_a_whole_lease() {
        let mut leases = Leases::default();
        assert_eq!(leases.left(SHARD, B, before(A, false), s(3)), s(7));
        assert_eq!(leases.left(SHARD, A, before(A, false), s(3)), s(0));
        assert_eq!(
            leases.left(SHARD, A, before(A, true), s(3)),
            s(7),
            "A took it from somebody shortly before"
        );
        assert_eq!(leases.left(SHARD, B, before(A, true), s(11)), s(0));
        assert!(leases.is_held(SHARD, s(9)) && !leases.is_held(SHARD, s(10)));
        leases.extend(SHARD, A, s(3), s(1));
        leases.keep(|_| false);
        assert!(leases.is_held(SHARD, s(5)));
    }

    #[test]
    fn leases_end_with_the_certainty_that_nobody_else_has_the_store() {
        assert_eq!(lease_of(s(0)), LEASE);
        assert_eq!(lease_of(s(4)), s(6));
        assert_eq!(lease_of(s(40)), s(0));
    }
}
