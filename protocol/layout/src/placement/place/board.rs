//! The state of a placement while it is worked out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use weft_types::{DriveId, GroupId};

use super::{MoveReason, Reasons, eviction, is_full};
use crate::{DriveEntry, DriveState, PlacementGroup, Protection};

/// A drive that may take shards.
struct Candidate {
    id: DriveId,
    domain: usize,
    /// At least 1.
    capacity: u64,
    /// The (group, slot) pairs it holds, by index.
    held: BTreeSet<(usize, usize)>,
}

impl Candidate {
    fn load(&self) -> u128 {
        self.held.len() as u128
    }

    /// Compares what one more slot would cost two drives: (2 load + 1) / capacity. Whoever is lower has the
    /// better claim; with equal capacities that is the lower load.
    fn by_claim(&self, other: &Self) -> Ordering {
        let cost = |load: u128, capacity: u64| (2 * load + 1) * u128::from(capacity);
        cost(self.load(), other.capacity).cmp(&cost(other.load(), self.capacity))
    }

    /// Compares what one slot less would save two drives: (2 load - 1) / capacity.
    fn by_relief(&self, other: &Self) -> Ordering {
        let saving = |load: u128, capacity: u64| (2 * load).saturating_sub(1) * u128::from(capacity);
        saving(self.load(), other.capacity).cmp(&saving(other.load(), self.capacity))
    }

    /// Whether a slot that goes from here to `to` makes the load more even: the sum of load^2 / capacity falls,
    /// so that such moves come to an end.
    fn should_give(&self, to: &Self) -> bool {
        let saving = (2 * self.load()).saturating_sub(1) * u128::from(to.capacity);
        (2 * to.load() + 1) * u128::from(self.capacity) < saving
    }
}

/// What a group has where a drive is; the less the better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Crowd {
    in_domain: usize,
    on_drive: usize,
}

/// Who sits where. Drives are numbered in the order of their ids, groups and slots in theirs; members that cannot
/// stay are left out from the start.
pub(super) struct Board<'a> {
    candidates: Vec<Candidate>,
    groups: &'a [PlacementGroup],
    slots: Vec<Vec<Option<usize>>>,
    reasons: Reasons,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        protection: Protection,
        drives: &'a [DriveEntry],
        groups: &'a [PlacementGroup],
    ) -> Self {
        let states: BTreeMap<_, _> = drives.iter().map(|drive| (drive.id, drive.state)).collect();
        let candidates = candidates(drives);
        let places: BTreeMap<_, _> = candidates.iter().enumerate().map(|(place, c)| (c.id, place)).collect();
        let slots = vec![vec![None; protection.width().into()]; groups.len()];
        let mut board = Self { candidates, groups, slots, reasons: Reasons::new() };
        for (group, entry) in groups.iter().enumerate() {
            for (slot, member) in entry.members.iter().enumerate() {
                if let Some(reason) = eviction(states.get(member).copied()) {
                    board.reasons.insert((group, slot), reason);
                } else if let Some(drive) = places.get(member) {
                    board.seat(group, slot, *drive);
                }
            }
        }
        board
    }

    /// The groups that can change.
    fn movable(&self) -> Vec<usize> {
        (0..self.groups.len()).filter(|group| !is_full(&self.groups[*group])).collect()
    }

    /// Whether members of the group cannot stay.
    pub(super) fn must_change(&self, group: usize) -> bool {
        self.slots[group].iter().any(Option::is_none)
    }

    /// Gives every vacant slot to the drive with the best claim.
    pub(super) fn fill(&mut self) {
        for group in self.movable() {
            for slot in 0..self.slots[group].len() {
                if self.slots[group][slot].is_none()
                    && let Some(drive) = self.best_for(group, slot)
                {
                    self.seat(group, slot, drive);
                }
            }
        }
    }

    /// Moves slots from crowded failure domains of a group to ones with at least two fewer.
    pub(super) fn spread(&mut self) {
        for group in self.movable() {
            while let Some((slot, drive)) = self.best_spread(group) {
                self.reasons.entry((group, slot)).or_insert(MoveReason::Respread);
                self.seat(group, slot, drive);
            }
        }
    }

    /// Moves slots from the fullest drives to the emptiest, while that makes the load more even.
    pub(super) fn balance(&mut self) {
        while let Some((group, slot, drive)) = self.best_balance() {
            self.reasons.entry((group, slot)).or_insert(MoveReason::Balance);
            self.seat(group, slot, drive);
        }
    }

    /// The members of a group, all slots being filled.
    pub(super) fn members(&self, group: usize) -> Vec<DriveId> {
        self.slots[group].iter().flatten().map(|drive| self.candidates[*drive].id).collect()
    }

    /// Why a slot changed hands first.
    pub(super) fn reason(&self, group: usize, slot: usize) -> MoveReason {
        self.reasons.get(&(group, slot)).copied().unwrap_or(MoveReason::Balance)
    }

    fn seat(&mut self, group: usize, slot: usize, drive: usize) {
        if let Some(previous) = self.slots[group][slot].replace(drive) {
            self.candidates[previous].held.remove(&(group, slot));
        }
        self.candidates[drive].held.insert((group, slot));
    }

    fn in_domain(&self, group: usize, domain: usize) -> usize {
        self.slots[group].iter().flatten().filter(|drive| self.candidates[**drive].domain == domain).count()
    }

    fn on_drive(&self, group: usize, drive: usize) -> usize {
        self.slots[group].iter().flatten().filter(|member| **member == drive).count()
    }

    /// Whether the drive held the slot before, so that shards of it may be there still.
    fn returns(&self, group: usize, slot: usize, drive: usize) -> bool {
        let id = Some(&self.candidates[drive].id);
        self.groups[group].history.iter().any(|earlier| earlier.members.get(slot) == id)
    }

    fn tie(&self, group: usize, drive: usize) -> u64 {
        tie_break(self.groups[group].id, self.candidates[drive].id)
    }

    /// How many slots of a group every drive holds, and how many its failure domain holds.
    fn crowds(&self, group: usize) -> Vec<Crowd> {
        let mut crowds = vec![Crowd::default(); self.candidates.len()];
        let mut domains = vec![0; self.candidates.len()];
        for drive in self.slots[group].iter().flatten() {
            crowds[*drive].on_drive += 1;
            domains[self.candidates[*drive].domain] += 1;
        }
        for (crowd, candidate) in crowds.iter_mut().zip(&self.candidates) {
            crowd.in_domain = domains[candidate.domain];
        }
        crowds
    }

    /// Who held a slot before, so that shards of it may be there still.
    fn earlier(&self, group: usize, slot: usize) -> BTreeSet<DriveId> {
        self.groups[group].history.iter().filter_map(|earlier| earlier.members.get(slot).copied()).collect()
    }

    fn best_for(&self, group: usize, slot: usize) -> Option<usize> {
        let (crowds, earlier) = (self.crowds(group), self.earlier(group, slot));
        let key = |drive: usize| (crowds[drive], !earlier.contains(&self.candidates[drive].id));
        (0..self.candidates.len())
            .min_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| self.by_claim(group, *a, *b)))
    }

    fn best_spread(&self, group: usize) -> Option<(usize, usize)> {
        let crowds = self.crowds(group);
        let members =
            self.slots[group].iter().enumerate().filter_map(|(slot, drive)| Some((slot, (*drive)?)));
        let most = members.clone().map(|(_, drive)| crowds[drive].in_domain).max()?;
        let targets = (0..self.candidates.len()).filter(|drive| crowds[*drive].in_domain + 2 <= most);
        let targets: Vec<_> = targets.collect();
        let crowded = members.filter(|(_, drive)| crowds[*drive].in_domain == most).map(|(slot, _)| slot);
        let pairs = crowded.flat_map(|slot| targets.iter().map(move |drive| (slot, *drive)));
        let key = |(slot, drive): (usize, usize)| (crowds[drive], !self.returns(group, slot, drive));
        pairs.min_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| self.by_claim(group, a.1, b.1)))
    }

    /// Compares two drives' claims to a slot of a group; equals by a fixed shuffle.
    fn by_claim(&self, group: usize, a: usize, b: usize) -> Ordering {
        let claim = self.candidates[a].by_claim(&self.candidates[b]);
        claim.then_with(|| self.tie(group, a).cmp(&self.tie(group, b)))
    }

    fn best_balance(&self) -> Option<(usize, usize, usize)> {
        let mut emptiest: Vec<usize> = (0..self.candidates.len()).collect();
        let mut fullest = emptiest.clone();
        emptiest.sort_by(|a, b| self.candidates[*a].by_claim(&self.candidates[*b]));
        fullest.sort_by(|a, b| self.candidates[*b].by_relief(&self.candidates[*a]));
        for from in fullest {
            let giver = &self.candidates[from];
            for to in emptiest.iter().copied().take_while(|to| giver.should_give(&self.candidates[*to])) {
                let slots = giver.held.iter().filter(|(group, _)| self.may_swap(*group, from, to));
                let best = slots.min_by_key(|(group, slot)| {
                    (!self.returns(*group, *slot, to), self.tie(*group, to), *group, *slot)
                });
                if let Some((group, slot)) = best {
                    return Some((*group, *slot, to));
                }
            }
        }
        None
    }

    /// Whether `to` can take the place of `from` without crowding a failure domain.
    fn may_swap(&self, group: usize, from: usize, to: usize) -> bool {
        let (old, new) = (self.candidates[from].domain, self.candidates[to].domain);
        !is_full(&self.groups[group])
            && self.on_drive(group, to) == 0
            && (old == new || self.in_domain(group, new) == 0)
    }
}

fn candidates(drives: &[DriveEntry]) -> Vec<Candidate> {
    let mut up: Vec<_> = drives.iter().filter(|drive| drive.state == DriveState::Up).collect();
    up.sort_by_key(|drive| drive.id);
    let names: BTreeSet<_> = up.iter().map(|drive| drive.failure_domain.as_str()).collect();
    let domains: BTreeMap<_, _> = names.into_iter().zip(0..).collect();
    let candidate = |drive: &DriveEntry| Candidate {
        id: drive.id,
        domain: domains[drive.failure_domain.as_str()],
        capacity: drive.capacity.get().max(1),
        held: BTreeSet::new(),
    };
    up.into_iter().map(candidate).collect()
}

/// A fixed shuffle of the drives for every group (the finaliser of SplitMix64), so that equals do not always stand
/// side by side.
fn tie_break(group: GroupId, drive: DriveId) -> u64 {
    let bytes = drive.to_bytes();
    let (high, low) = bytes.split_first_chunk::<8>().expect("16 bytes are more than 8");
    let low = low.first_chunk().expect("8 bytes are left");
    let mix = |value: u64| {
        let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    };
    mix(mix(mix(u64::from(group.get()) + 1) ^ u64::from_be_bytes(*high)) ^ u64::from_be_bytes(*low))
}
