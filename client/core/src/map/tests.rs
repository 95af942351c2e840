use super::*;
use proptest::prelude::*;
use weft_layout::{Geometry, Protection};
use weft_types::{ByteCount, DataKeyId, Epoch, ExtentId, ExtentSeq, GroupId, SessionId};

const SPACE: u64 = 200;

fn entry(offset: u64, len: u32, seq: u64) -> MapEntry {
    let protection = Protection::new(4, 2).expect("offered");
    MapEntry {
        group_epoch: Epoch::new(1),
        offset: FileOffset::new(offset),
        len,
        extent: ExtentId { session: SessionId::from_bytes([1; 16]), seq: ExtentSeq::new(seq) },
        extent_offset: 0,
        geometry: Geometry::new(protection, ByteCount::new(len.into())).expect("a length"),
        group: GroupId::new(0),
        key: DataKeyId::new(1),
    }
}

/// A byte's extent and its place in it.
type Cell = Option<(u64, u64)>;

fn cells(map: &ExtentMap, range: Range<u64>) -> Vec<Cell> {
    let segments = map.segments(range.clone()).expect("known");
    let mut cells = Vec::new();
    for segment in segments {
        match segment {
            Segment::Hole(hole) => cells.extend(hole.map(|_| None)),
            Segment::Extent(part, entry) => cells.extend(part.map(|at| {
                Some((entry.extent.seq.get(), at - entry.offset.get() + u64::from(entry.extent_offset)))
            })),
        }
    }
    assert_eq!(cells.len() as u64, range.end - range.start);
    cells
}

fn page_of(model: &[Cell], from: u64, limit: usize) -> (Vec<MapEntry>, bool) {
    let mut entries: Vec<MapEntry> = Vec::new();
    for (at, cell) in model.iter().enumerate() {
        let Some((seq, within)) = *cell else { continue };
        let at = at as u64;
        match entries.last_mut() {
            Some(last)
                if last.extent.seq.get() == seq
                    && end_of(last) == at
                    && u64::from(last.extent_offset + last.len) == within =>
            {
                last.len += 1;
            }
            _ => {
                let extent_offset = u32::try_from(within).expect("small");
                entries.push(MapEntry { extent_offset, ..entry(at, 1, seq) });
            }
        }
    }
    entries.retain(|entry| end_of(entry) > from);
    let end = entries.len() <= limit;
    entries.truncate(limit);
    (entries, end)
}

proptest! {
    #[test]
    fn a_map_paged_in_at_any_time_shows_what_the_owner_has(
        steps in proptest::collection::vec((0..4_u8, 0..SPACE - 50, 1..50_u32), 1..40),
        limit in 1..4_usize,
    ) {
        let mut model: Vec<Cell> = vec![None; SPACE as usize];
        let mut map = ExtentMap::default();
        for (seq, (kind, offset, len)) in steps.into_iter().enumerate() {
            match kind {
                0 => {
                    map.place(entry(offset, len, seq as u64));
                    for at in 0..u64::from(len) {
                        model[(offset + at) as usize] = Some((seq as u64, at));
                    }
                }
                1 => {
                    map.truncate(offset);
                    model[offset as usize..].fill(None);
                }
                2 => map.forget(offset..offset + u64::from(len)),
                _ => {
                    let range = offset..offset + u64::from(len);
                    while let Err(missing) = map.segments(range.clone()) {
                        let (entries, end) = page_of(&model, missing.start, limit);
                        prop_assert!(map.page(map.version(), missing.start..SPACE, entries, end));
                    }
                    prop_assert_eq!(&cells(&map, range), &model[offset as usize..(offset + u64::from(len)) as usize]);
                }
            }
        }
    }
}

#[test]
fn a_page_from_before_a_commit_is_not_believed() {
    let mut map = ExtentMap::default();
    let asked = map.version();
    map.place(entry(0, 10, 2));
    assert!(map.page(asked, 0..10, vec![entry(0, 10, 1)], true));
    assert_eq!(cells(&map, 0..1), [Some((2, 0))]);
}

#[test]
fn a_page_that_is_no_answer_is_refused() {
    let mut map = ExtentMap::default();
    let version = map.version();
    assert!(!map.page(version, 0..10, vec![], false), "it would be asked for for ever");
    assert!(!map.page(version, 0..10, vec![entry(5, 5, 1), entry(7, 5, 2)], true), "overlapping");
    assert!(!map.page(version, 50..60, vec![entry(5, 5, 1)], true), "before what was asked for");
}

#[test]
fn a_range_of_very_many_entries_can_be_known_as_a_whole() {
    let mut map = ExtentMap::default();
    let (entries, page) = (ENTRIES_MAX as u64 + 5_000, 512);
    let range = 0..entries;
    // Far away, and in the way.
    map.place(entry(NEAR * 40, 1, 1));
    let mut asked = 0;
    while let Err(gap) = map.segments(range.clone()) {
        let until = (gap.start + page).min(entries);
        let found = (gap.start..until).map(|offset| entry(offset, 1, offset)).collect();
        assert!(map.page(map.version(), gap.start..entries, found, until == entries));
        asked += 1;
        assert!(asked <= entries / page + 1, "pages are not asked for again and again");
    }
    assert_eq!(map.segments(range).expect("known").len() as u64, entries);
    assert!(map.segments(NEAR * 40..NEAR * 40 + 1).is_err(), "what is far away made room");
    for offset in 0..100 {
        map.place(entry(NEAR * 2 + offset * NEAR, 1, 1));
    }
    assert!(map.entries.len() < 1_000);
}
