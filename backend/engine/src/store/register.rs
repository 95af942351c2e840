//! Which drive has which version, and from when on a version counts. Pure: time is an argument.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use weft_types::{Incarnation, StoreVersion};
use weft_wire::ownership::DriveHome;

use super::voters::Voters;

/// The pause after the first failed put to a drive; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One voter.
#[derive(Debug, Clone, Default)]
struct Replica {
    /// What it certainly has.
    taken: Option<StoreVersion>,
    /// What is on its way to it.
    sent: Option<StoreVersion>,
    not_before: Duration,
    failures: u32,
    fault: Option<String>,
}

/// The copies of the store under one term.
#[derive(Debug, Clone)]
pub(super) struct Register {
    settled: (StoreVersion, Voters),
    newest: (StoreVersion, Voters),
    replicas: BTreeMap<DriveHome, Replica>,
}

impl Register {
    /// A store whose version `settled` counts, or was found by a majority, and of which no drive is known to have it.
    pub(super) fn new(settled: StoreVersion, voters: Voters) -> Self {
        let mut register =
            Self { settled: (settled, voters.clone()), newest: (settled, voters), replicas: BTreeMap::new() };
        register.seat();
        register
    }

    /// Puts a version above the newest. One that was put before and does not count yet never will.
    pub(super) fn begin(&mut self, version: StoreVersion, voters: Voters) {
        debug_assert!(version > self.newest.0);
        self.newest = (version, voters);
        self.seat();
        for replica in self.replicas.values_mut() {
            replica.not_before = Duration::ZERO;
        }
    }

    fn seat(&mut self) {
        let voters: BTreeSet<_> = self.settled.1.all().union(&self.newest.1.all()).copied().collect();
        self.replicas.retain(|home, _| voters.contains(home));
        for home in voters {
            self.replicas.entry(home).or_default();
        }
    }

    /// The last version that was put.
    pub(super) fn newest(&self) -> StoreVersion {
        self.newest.0
    }

    /// The last version that counts.
    pub(super) fn settled(&self) -> StoreVersion {
        self.settled.0
    }

    /// Whose majority decides about the version that counts.
    pub(super) fn voters(&self) -> &Voters {
        &self.settled.1
    }

    /// The drives to send the newest version to now; they count as sent to.
    pub(super) fn due(&mut self, now: Duration) -> Vec<DriveHome> {
        let newest = self.newest.0;
        let due = self.replicas.iter_mut().filter(|(_, replica)| {
            replica.sent.is_none() && replica.taken != Some(newest) && replica.not_before <= now
        });
        due.map(|(home, replica)| {
            replica.sent = Some(newest);
            *home
        })
        .collect()
    }

    /// When [`due`](Self::due) has something next, unless something else happens before.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let lagging = self
            .replicas
            .values()
            .filter(|replica| replica.sent.is_none() && replica.taken != Some(self.newest.0));
        lagging.map(|replica| replica.not_before).min()
    }

    /// A drive has taken what was sent to it. Says whether the newest version counts since now.
    pub(super) fn taken(&mut self, home: DriveHome, incarnation: Incarnation, now: Duration) -> bool {
        let Some(replica) = self.replicas.get_mut(&home) else { return false };
        let Some(version) = replica.sent.take() else { return false };
        if incarnation != home.incarnation {
            replica.fail(now, "the drive was blank since it became a voter".to_owned());
            return false;
        }
        replica.taken = Some(version);
        (replica.failures, replica.fault, replica.not_before) = (0, None, now);
        if self.settled.0 == self.newest.0 {
            return false;
        }
        let holding = self.holding(self.newest.0);
        let counts = self.settled.1.agree(&holding) && self.newest.1.agree(&holding);
        if counts {
            self.settled = self.newest.clone();
            self.seat();
        }
        counts
    }

    /// What was sent to a drive was not taken, or nobody knows.
    pub(super) fn failed(&mut self, home: DriveHome, now: Duration, reason: String) {
        if let Some(replica) = self.replicas.get_mut(&home) {
            replica.sent = None;
            replica.fail(now, reason);
        }
    }

    /// A drive no longer has what it took, or nobody knows: it gets the newest version again.
    pub(super) fn lost(&mut self, home: DriveHome) {
        if let Some(replica) = self.replicas.get_mut(&home) {
            replica.taken = None;
        }
    }

    /// The voters that have this version.
    pub(super) fn holding(&self, version: StoreVersion) -> BTreeSet<DriveHome> {
        let holding = self.replicas.iter().filter(|(_, replica)| replica.taken == Some(version));
        holding.map(|(home, _)| *home).collect()
    }

    /// How far the newest version is, for people.
    pub(super) fn progress(&self) -> String {
        let holding = self.holding(self.newest.0).len();
        let voters = self.replicas.len();
        let majority = self.newest.1.majority();
        let mut text = format!("{holding} of {voters} voting drives have taken it, {majority} are necessary");
        for (home, fault) in self.replicas.iter().filter_map(|(home, r)| Some((home, r.fault.as_ref()?))) {
            text.push_str(&format!("; drive {}: {fault}", home.drive.short()));
        }
        text
    }
}

impl Replica {
    fn fail(&mut self, now: Duration, reason: String) {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.not_before = now + pause;
        self.failures = self.failures.saturating_add(1);
        self.fault = Some(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_types::DriveId;

    fn home(n: u8) -> DriveHome {
        DriveHome { drive: DriveId::from_bytes([n; 16]), incarnation: Incarnation::new(1) }
    }

    fn voters(list: &[u8]) -> Voters {
        Voters::of(list.iter().map(|n| home(*n)).collect())
    }

    const ONE: Incarnation = Incarnation::new(1);
    const NOW: Duration = Duration::ZERO;

    fn register() -> Register {
        let mut register = Register::new(StoreVersion::new(1), voters(&[0, 1, 2]));
        register.begin(StoreVersion::new(2), voters(&[0, 1, 2]));
        assert_eq!(register.due(NOW), [home(0), home(1), home(2)]);
        register
    }

    #[test]
    fn a_version_counts_once_with_the_drive_that_makes_the_majority() {
        let mut register = register();
        assert!(!register.taken(home(0), ONE, NOW));
        assert!(!register.taken(home(0), ONE, NOW), "an answer counts once");
        assert!(register.taken(home(1), ONE, NOW));
        assert_eq!(register.settled(), StoreVersion::new(2));
        assert!(!register.taken(home(2), ONE, NOW));
        assert_eq!(register.next_due(), None);
    }

    #[test]
    fn a_version_that_was_given_up_never_counts() {
        let mut register = register();
        register.begin(StoreVersion::new(3), voters(&[0, 1, 2]));
        for n in 0..3 {
            assert!(!register.taken(home(n), ONE, NOW), "that was of version 2");
        }
        assert_eq!(register.settled(), StoreVersion::new(1));
        assert_eq!(register.due(NOW).len(), 3);
        register.taken(home(0), ONE, NOW);
        assert!(register.taken(home(1), ONE, NOW));
    }

    #[test]
    fn a_drive_that_fails_is_asked_again_after_growing_pauses() {
        let mut register = register();
        register.taken(home(0), ONE, NOW);
        let mut now = NOW;
        let mut last = Duration::ZERO;
        for _ in 0..8 {
            register.failed(home(1), now, "down".to_owned());
            let next = register.next_due().expect("it lags");
            assert!(next - now >= last && next - now <= PAUSE_MAX);
            last = next - now;
            assert_eq!(register.due(next - Duration::from_nanos(1)), []);
            now = next;
            assert_eq!(register.due(now), [home(1)]);
        }
        assert!(register.progress().contains("1 of 3 voting drives"), "{}", register.progress());
        assert!(register.progress().contains("down"));
        assert!(register.taken(home(1), ONE, now));
    }

    #[test]
    fn a_drive_that_was_blank_does_not_count() {
        let mut register = register();
        register.taken(home(0), ONE, NOW);
        assert!(!register.taken(home(1), Incarnation::new(2), NOW));
        assert!(register.taken(home(2), ONE, NOW));
    }

    #[test]
    fn while_the_voters_change_both_sets_decide() {
        let mut register = Register::new(StoreVersion::new(1), voters(&[0, 1, 2]));
        let set = |list: &[u8]| list.iter().map(|n| home(*n)).collect::<Vec<_>>();
        let both = Voters { current: set(&[0, 1, 2]), next: Some(set(&[2, 3, 4])) };
        register.begin(StoreVersion::new(2), both);
        assert_eq!(register.due(NOW).len(), 5);
        for n in [0, 1, 3] {
            assert!(!register.taken(home(n), ONE, NOW), "{n}");
        }
        assert!(register.taken(home(2), ONE, NOW));
        register.begin(StoreVersion::new(3), voters(&[2, 3, 4]));
        register.taken(home(4), ONE, NOW);
        register.due(NOW);
        for n in [2, 3] {
            assert!(!register.taken(home(n), ONE, NOW), "the old set still decides: {n}");
        }
        assert!(register.taken(home(0), ONE, NOW));
        assert_eq!(register.voters(), &voters(&[2, 3, 4]));
        assert_eq!(register.holding(StoreVersion::new(3)), set(&[2, 3]).into_iter().collect());
    }
}
