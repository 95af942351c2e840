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
        steps in proptest::collection::vec((0..6_u8, 0..SPACE - 50, 1..50_u32), 1..60),
        limit in 1..4_usize,
    ) {
        let mut model: Vec<Cell> = vec![None; SPACE as usize];
        let mut map = ExtentMap::default();
        let mut late = Vec::new();
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
                3 => {
                    // Asked for now, and taken in after other changes.
                    let asked = offset..offset + u64::from(len);
                    let (mut entries, mut end) = page_of(&model, asked.start, limit);
                    let before = entries.len();
                    entries.retain(|entry| entry.offset.get() < asked.end);
                    end |= entries.len() < before;
                    late.push((map.version(), asked, entries, end));
                }
                4 => for (version, asked, entries, end) in late.drain(..) {
                    prop_assert!(map.page(version, asked, entries, end));
                },
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
fn a_page_is_believed_where_nothing_changed_and_nowhere_else() {
    // One entry that reaches beyond what is asked for, on both sides.
    for (changed, believed) in [(2, false), (12, false), (25, false), (40, true)] {
        let mut map = ExtentMap::default();
        let asked = map.version();
        map.place(entry(changed, 2, 9));
        assert!(map.page(asked, 10..20, vec![entry(0, 30, 1)], true));
        assert_eq!(cells(&map, changed..changed + 1), [Some((9, 0))]);
        assert_eq!(map.segments(10..12).is_ok(), believed);
    }
    let mut map = ExtentMap::default();
    let asked = map.version();
    (0..=CHANGES_MAX as u64).for_each(|at| map.place(entry(1000 + at, 1, 9)).gone.clear());
    assert!(map.page(asked, 0..10, vec![entry(0, 10, 1)], true));
    assert!(map.segments(0..10).is_err(), "too much has changed to know where");
}

#[test]
fn what_a_placed_entry_leaves_behind_is_told() {
    let mut map = ExtentMap::of_new_file();
    assert_eq!(map.place(entry(0, 40, 1)), Replaced::default());
    assert_eq!(map.place(entry(40, 10, 2)), Replaced::default());
    let replaced = map.place(entry(10, 45, 3));
    assert_eq!((replaced.gone.len(), replaced.stumps), (1, vec![9]), "a quarter is left of the first");
    assert_eq!(replaced.gone[0].seq.get(), 2);
    map.forget(0..10);
    assert_eq!(map.place(entry(10, 5, 4)).stumps, [9], "unknown");
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
