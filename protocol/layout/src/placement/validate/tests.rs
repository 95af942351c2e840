use proptest::prelude::*;
use weft_types::{Epoch, MapVersion};

use super::*;
use crate::Membership;
use crate::placement::{fixture, place};

fn formed() -> ClusterMap {
    place(&fixture::equal("4+2", 7)).expect("seven domains").map
}

/// What a change of a good map makes of it.
fn broken(change: impl FnOnce(&mut ClusterMap)) -> MapError {
    let mut map = formed();
    assert_eq!(map.validate(), Ok(()));
    change(&mut map);
    map.validate().expect_err("the change breaks the map")
}

#[test]
fn a_map_survives_its_wire_form() {
    let mut map = formed();
    let members = map.groups[3].members.iter().rev().copied().collect();
    map.groups[3].epoch = Epoch::new(9);
    map.groups[3].history.push(Membership { epoch: Epoch::new(2), members });
    let wire = minicbor::to_vec(&map).expect("encodes");
    assert_eq!(minicbor::decode::<ClusterMap>(&wire).expect("decodes"), map);
    for len in 0..wire.len() {
        assert!(minicbor::decode::<ClusterMap>(&wire[..len]).is_err(), "cut to {len} bytes");
    }
}

proptest! {
    #[test]
    fn a_damaged_wire_form_never_panics(at: prop::sample::Index, bit in 0..8_u8) {
        let mut wire = minicbor::to_vec(fixture::equal("4+2", 6)).expect("encodes");
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        if let Ok(map) = minicbor::decode::<ClusterMap>(&wire)
            && map.validate().is_ok()
        {
            let _ = place(&map);
        }
    }
}

#[test]
fn fields_out_of_bounds_are_refused() {
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    for (text, port) in [("", "127.0.0.1"), (long.as_str(), "127.0.0.1:0"), ("", ":7000"), ("", "host:70000")]
    {
        assert!(matches!(
            broken(|map| map.drives[0].name = text.to_owned()),
            MapError::Text { what: "name", .. }
        ));
        assert!(matches!(
            broken(|map| map.drives[1].failure_domain = text.to_owned()),
            MapError::Text { .. }
        ));
        assert!(matches!(broken(|map| map.computes[0].name = text.to_owned()), MapError::Text { .. }));
        assert!(matches!(broken(|map| map.drives[0].address = port.to_owned()), MapError::Address { .. }));
        assert!(matches!(broken(|map| map.management.address = port.to_owned()), MapError::Address { .. }));
    }
    let error = broken(|map| map.computes = (0..=MAX_COMPUTES).map(|_| map.computes[0].clone()).collect());
    assert_eq!(error, MapError::TooMany { what: "compute nodes", got: MAX_COMPUTES + 1, max: MAX_COMPUTES });
    assert_eq!(broken(|map| map.version = MapVersion::new(u64::MAX)), MapError::Exhausted);
    assert_eq!(broken(|map| map.groups[0].epoch = Epoch::new(u64::MAX)), MapError::Exhausted);
}

#[test]
fn ids_stand_for_one_thing() {
    let drive = |map: &mut ClusterMap| map.drives[1].id = map.drives[0].id;
    assert!(matches!(broken(drive), MapError::Duplicate(_)));
    assert!(matches!(broken(|map| map.management.node = map.computes[0].node), MapError::Duplicate(_)));
    assert_eq!(broken(|map| map.groups.swap(0, 1)), MapError::GroupOrder(GroupId::new(0)));
    assert_eq!(broken(|map| map.groups[4].id = GroupId::new(3)), MapError::GroupOrder(GroupId::new(3)));
}

#[test]
fn groups_have_a_full_list_over_enough_domains() {
    let group = GroupId::new(0);
    let error = broken(|map| map.groups[0].members.truncate(5));
    assert_eq!(error, MapError::GroupWidth { group, members: 5, width: 6 });
    let earlier =
        |epoch, members: &[DriveId]| Membership { epoch: Epoch::new(epoch), members: members.to_vec() };
    let error = broken(|map| map.groups[0].history.push(earlier(0, &[])));
    assert_eq!(error, MapError::GroupWidth { group, members: 0, width: 6 });
    let error = broken(|map| {
        let same = earlier(1, &map.groups[0].members);
        map.groups[0].history.push(same);
    });
    assert_eq!(error, MapError::HistoryOrder(group));
    let stranger = DriveId::from_bytes([77; 16]);
    let error = broken(|map| map.groups[0].members[2] = stranger);
    assert_eq!(error, MapError::UnknownDrive { group, drive: stranger });
    let error =
        broken(|map| map.drives.iter_mut().take(4).for_each(|drive| drive.failure_domain = "rack".into()));
    assert!(matches!(error, MapError::DomainShare { shards: 3.., max: 2, .. }));
}
