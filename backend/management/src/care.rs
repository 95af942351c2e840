//! What owners reported about where their extents lie, and what follows for drives and groups. Pure.

use std::collections::BTreeMap;

use weft_layout::{ClusterMap, DriveEntry};
use weft_types::{Epoch, FilesystemId, GroupId, MapVersion, MetadataShard};
use weft_wire::ownership::{DriveHome, ReportCare};

use crate::contents::Contents;

type Shard = (FilesystemId, MetadataShard);

/// The last report of each ownership, kept in memory: owners repeat them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Care {
    reports: BTreeMap<Shard, Report>,
}

#[derive(Debug, Clone, Default)]
struct Report {
    epoch: Epoch,
    floors: BTreeMap<GroupId, Epoch>,
    reconciled: BTreeMap<DriveHome, (MapVersion, u64)>,
}

/// A shard whose extents count, under the ownership that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub shard: Shard,
    pub epoch: Epoch,
    /// The filesystem's name, for people.
    pub name: String,
}

impl Care {
    /// Takes a report of an ownership that holds. A later one of the same ownership completes it.
    pub(crate) fn report(&mut self, report: &ReportCare) {
        let owner = report.owner;
        let known = self.reports.entry((owner.filesystem, owner.shard)).or_default();
        if known.epoch != owner.epoch {
            *known = Report { epoch: owner.epoch, ..Report::default() };
        }
        for floor in &report.floors {
            let epoch = known.floors.entry(floor.group).or_default();
            *epoch = (*epoch).max(floor.epoch);
        }
        for done in &report.reconciled {
            known.reconciled.insert(done.home, (done.returned, done.missing));
        }
    }

    /// Forgets what is no longer of use: shards that are gone, groups and drives that the map does not have so.
    pub(crate) fn forget(&mut self, contents: &Contents) {
        let map = &contents.map;
        self.reports.retain(|(filesystem, shard), _| contents.shard(*filesystem, *shard).is_some());
        for report in self.reports.values_mut() {
            report.floors.retain(|group, _| map.group(*group).is_some_and(|group| !group.history.is_empty()));
            report.reconciled.retain(|home, _| {
                map.drive(home.drive).is_some_and(|drive| drive.incarnation == home.incarnation)
            });
        }
    }

    fn of(&self, owned: &Owned) -> Option<&Report> {
        self.reports.get(&owned.shard).filter(|report| report.epoch == owned.epoch)
    }

    /// The shards of these that have not compared a drive with their extent rows since it came back.
    pub(crate) fn not_reconciled<'a>(
        &'a self,
        drive: &'a DriveEntry,
        owned: &'a [Owned],
    ) -> impl Iterator<Item = &'a Owned> {
        owned.iter().filter(move |owned| self.missing_of(drive, owned).is_none())
    }

    /// Shards that a drive was found not to hold by all of these; `None` while some have not compared.
    pub(crate) fn missing(&self, drive: &DriveEntry, owned: &[Owned]) -> Option<u64> {
        owned.iter().try_fold(0_u64, |sum, owned| Some(sum.saturating_add(self.missing_of(drive, owned)?)))
    }

    fn missing_of(&self, drive: &DriveEntry, owned: &Owned) -> Option<u64> {
        let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
        let (returned, missing) = self.of(owned)?.reconciled.get(&home)?;
        (*returned == drive.returned).then_some(*missing)
    }

    /// The earliest epoch of a group by which some extent of these may lie; `None` while some have not said.
    pub(crate) fn floor(&self, group: GroupId, owned: &[Owned]) -> Option<Epoch> {
        let floor = |owned: &Owned| self.of(owned)?.floors.get(&group).copied();
        let floors: Option<Vec<_>> = owned.iter().map(floor).collect();
        // Nobody has extents: all lists but the present one are empty.
        floors.map(|floors| floors.into_iter().min().unwrap_or(Epoch::new(u64::MAX)))
    }
}

/// Drops the earlier lists of groups that no extent lies by. Returns how many went.
pub(crate) fn drop_proven(map: &mut ClusterMap, care: &Care, owned: &[Owned]) -> usize {
    let mut dropped = 0;
    for group in map.groups.iter_mut().filter(|group| !group.history.is_empty()) {
        let Some(floor) = care.floor(group.id, owned) else { continue };
        let before = group.history.len();
        group.history.retain(|earlier| earlier.epoch >= floor);
        dropped += before - group.history.len();
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use weft_layout::Membership;
    use weft_types::{DriveId, Incarnation};
    use weft_wire::ownership::{GroupFloor, Held, Reconciled};

    const SHARD: MetadataShard = MetadataShard::new(0);

    fn owned(n: u8, epoch: u64) -> Owned {
        let shard = (FilesystemId::from_bytes([n; 16]), SHARD);
        Owned { shard, epoch: Epoch::new(epoch), name: format!("fs{n}") }
    }

    fn report(n: u8, epoch: u64) -> ReportCare {
        let owner =
            Held { filesystem: FilesystemId::from_bytes([n; 16]), shard: SHARD, epoch: Epoch::new(epoch) };
        ReportCare { owner, map: MapVersion::new(3), floors: Vec::new(), reconciled: Vec::new() }
    }

    fn floor(group: u32, epoch: u64) -> GroupFloor {
        GroupFloor { group: GroupId::new(group), epoch: Epoch::new(epoch) }
    }

    #[test]
    fn a_list_goes_when_every_owner_says_that_nothing_lies_by_it() {
        let mut map = fixture::map();
        let members = map.groups[0].members.clone();
        for group in &mut map.groups[..2] {
            group.epoch = Epoch::new(4);
            let list = |n| Membership { epoch: Epoch::new(n), members: members.clone() };
            group.history = vec![list(3), list(2), list(1)];
        }
        let owners = [owned(1, 7), owned(2, 9)];
        let mut care = Care::default();
        care.report(&ReportCare { floors: vec![floor(0, 4), floor(1, 4)], ..report(1, 7) });
        assert_eq!(drop_proven(&mut map, &care, &owners), 0, "the other owner has said nothing");
        care.report(&ReportCare { floors: vec![floor(0, 3)], ..report(2, 8) });
        assert_eq!(drop_proven(&mut map, &care, &owners), 0, "that was an earlier ownership");
        care.report(&ReportCare { floors: vec![floor(0, 3)], ..report(2, 9) });
        assert_eq!(drop_proven(&mut map, &care, &owners), 2);
        assert_eq!(map.groups[0].history.len(), 1);
        assert_eq!(map.groups[1].history.len(), 3);
        care.report(&ReportCare { floors: vec![floor(0, 2), floor(1, 4)], ..report(2, 9) });
        assert_eq!(drop_proven(&mut map, &care, &owners), 3, "what was proven stays proven");
        assert_eq!(drop_proven(&mut map, &Care::default(), &[]), 1, "without extents nothing lies anywhere");
    }

    #[test]
    fn a_drive_is_reconciled_once_every_owner_compared_it_since_it_came_back() {
        let mut drive = fixture::map().drives[0].clone();
        drive.returned = MapVersion::new(5);
        let home = DriveHome { drive: drive.id, incarnation: drive.incarnation };
        let done = |returned, missing| Reconciled { home, returned: MapVersion::new(returned), missing };
        let owners = [owned(1, 1), owned(2, 1)];
        let mut care = Care::default();
        assert_eq!(care.missing(&drive, &[]), Some(0));
        care.report(&ReportCare { reconciled: vec![done(5, 3)], ..report(1, 1) });
        care.report(&ReportCare { reconciled: vec![done(4, 0)], ..report(2, 1) });
        assert_eq!(care.missing(&drive, &owners), None, "the second compared it before it went again");
        assert_eq!(care.not_reconciled(&drive, &owners).collect::<Vec<_>>(), [&owners[1]]);
        care.report(&ReportCare { reconciled: vec![done(5, 4)], ..report(2, 1) });
        assert_eq!(care.missing(&drive, &owners), Some(7));
        drive.incarnation = Incarnation::new(2);
        assert_eq!(care.missing(&drive, &owners), None, "a blank drive was compared by nobody");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut contents = fixture::contents();
        contents.create(fixture::filesystem("home")).expect("created");
        let taken = contents
            .take_ownership("home", SHARD, weft_types::NodeId::from_bytes([7; 16]), |_, _| false)
            .expect("owned");
        let owner = Held { filesystem: taken.filesystem.id, shard: SHARD, epoch: taken.row.epoch };
        let stranger = DriveHome { drive: DriveId::from_bytes([99; 16]), incarnation: Incarnation::new(1) };
        let reconciled = vec![Reconciled { home: stranger, returned: MapVersion::new(1), missing: 0 }];
        let mut care = Care::default();
        care.report(&ReportCare { owner, map: MapVersion::new(1), floors: vec![floor(0, 1)], reconciled });
        care.report(&report(44, 1));
        care.forget(&contents);
        assert_eq!(care.reports.len(), 1);
        let left = care.reports.values().next().expect("one");
        assert!(left.floors.is_empty() && left.reconciled.is_empty());
    }
}
