//! Which drives decide about the cluster store, and when enough of them agree.

use std::collections::BTreeSet;

use weft_wire::ownership::DriveHome;

/// The drives whose majority decides. Only `current` -> `current` and `next` -> `next` is a way to other ones: while
/// there are two sets, a majority of each is necessary, so that whoever knows either set meets what the other decided.
///
/// A voter is a drive with its incarnation: one that was blank since then has forgotten what it promised.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Voters {
    /// Those that decide.
    #[n(0)]
    pub current: Vec<DriveHome>,
    /// Those that are to decide alone later, and do so together with the current ones now.
    #[n(1)]
    pub next: Option<Vec<DriveHome>>,
}

impl Voters {
    /// One set.
    pub const fn of(current: Vec<DriveHome>) -> Self {
        Self { current, next: None }
    }

    /// Whether these drives are enough: a majority of each set. No set is empty.
    pub fn agree(&self, drives: &BTreeSet<DriveHome>) -> bool {
        let majority = |set: &Vec<DriveHome>| {
            let distinct: BTreeSet<_> = set.iter().collect();
            distinct.iter().filter(|home| drives.contains(home)).count() * 2 > distinct.len()
        };
        majority(&self.current) && self.next.as_ref().is_none_or(majority)
    }

    /// Whether a store whose voters these are may get those in one change.
    pub fn may_become(&self, after: &Self) -> bool {
        let sound = |set: &Vec<DriveHome>| !set.is_empty();
        if !sound(&after.current) || after.next.as_ref().is_some_and(|next| !sound(next)) {
            return false;
        }
        let begins = self.next.is_none() && self.current == after.current;
        let goes_back = self.next.is_some() && self.current == after.current && after.next.is_none();
        let ends = self.next.as_ref() == Some(&after.current) && after.next.is_none();
        self == after || begins || goes_back || ends
    }

    /// All voters, once each, in order.
    pub fn all(&self) -> BTreeSet<DriveHome> {
        self.current.iter().chain(self.next.iter().flatten()).copied().collect()
    }

    /// How many of the current voters must agree.
    pub fn majority(&self) -> usize {
        self.current.len() / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weft_types::{DriveId, Incarnation};

    fn home(n: u8) -> DriveHome {
        DriveHome { drive: DriveId::from_bytes([n; 16]), incarnation: Incarnation::new(1) }
    }

    fn homes(list: &[u8]) -> Vec<DriveHome> {
        list.iter().map(|n| home(*n)).collect()
    }

    fn set(list: &[u8]) -> BTreeSet<DriveHome> {
        homes(list).into_iter().collect()
    }

    #[test]
    fn more_than_half_decide_and_of_two_sets_more_than_half_of_each() {
        let five = Voters::of(homes(&[0, 1, 2, 3, 4]));
        assert!(five.agree(&set(&[0, 2, 4])) && !five.agree(&set(&[0, 2])) && !five.agree(&set(&[0, 2, 9])));
        assert_eq!(five.majority(), 3);
        let four = Voters::of(homes(&[0, 1, 2, 3]));
        assert!(four.agree(&set(&[0, 1, 2])) && !four.agree(&set(&[0, 1])));
        let joint = Voters { current: homes(&[0, 1, 2]), next: Some(homes(&[2, 3, 4])) };
        assert!(joint.agree(&set(&[1, 2, 3])));
        assert!(!joint.agree(&set(&[0, 1, 2])) && !joint.agree(&set(&[2, 3, 4])));
        let blank = DriveHome { incarnation: Incarnation::new(2), ..home(0) };
        assert!(!five.agree(&[blank, home(1), home(2)].into()), "a drive that was blank has forgotten");
    }

    #[test]
    fn sets_change_only_through_both() {
        let (a, b) = (homes(&[0, 1, 2]), homes(&[3, 4, 5]));
        let both = Voters { current: a.clone(), next: Some(b.clone()) };
        let (only_a, only_b) = (Voters::of(a), Voters::of(b.clone()));
        assert!(only_a.may_become(&both) && both.may_become(&only_b) && both.may_become(&only_a));
        assert!(!only_a.may_become(&only_b) && !only_b.may_become(&both));
        let elsewhere = Voters { current: b, next: Some(homes(&[6])) };
        assert!(!both.may_become(&elsewhere));
        assert!(!only_a.may_become(&Voters::of(Vec::new())));
    }

    proptest! {
        #[test]
        fn whoever_decides_before_and_after_a_change_meet(
            a in prop::collection::btree_set(0..8_u8, 1..6),
            b in prop::collection::btree_set(0..8_u8, 1..6),
            one in prop::collection::btree_set(0..8_u8, 0..8),
            other in prop::collection::btree_set(0..8_u8, 0..8),
        ) {
            let list = |set: &std::collections::BTreeSet<u8>| homes(&set.iter().copied().collect::<Vec<_>>());
            let homes_of = |set: &std::collections::BTreeSet<u8>| set.iter().map(|n| home(*n)).collect::<BTreeSet<_>>();
            let (only_a, only_b) = (Voters::of(list(&a)), Voters::of(list(&b)));
            let both = Voters { current: list(&a), next: Some(list(&b)) };
            let meet = one.intersection(&other).next().is_some();
            for (before, after) in [(&only_a, &both), (&both, &only_b), (&both, &both)] {
                prop_assert!(before.may_become(after));
                if before.agree(&homes_of(&one)) && after.agree(&homes_of(&other)) {
                    prop_assert!(meet);
                }
            }
        }
    }
}
