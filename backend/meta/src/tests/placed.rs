//! Walks over all extents, and extents that move on to a later membership.

use weft_types::{Epoch, ExtentId, Inode};

use super::invariants;
use super::world::{GROUP_EPOCH, World};
use crate::placed::{self, Cursor, Rehomed};

fn world() -> (World, Vec<ExtentId>) {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    for at in 0..7 {
        world.commit(file, &[(at * 10, 10)]).expect("commits");
    }
    world.commit(file, &[(0, 30)]).expect("commits");
    let ids = crate::drop::extents(&world.rows, 99).expect("lists").into_iter().map(|(id, _)| id).collect();
    (world, ids)
}

#[test]
fn a_walk_sees_every_extent_also_one_that_dies_under_way() {
    for limit in 1..10 {
        let (mut world, mut ids) = world();
        assert_eq!(placed::count(&world.rows), Ok(8));
        let (mut seen, mut next, mut steps) = (Vec::new(), Some(Cursor::START), 0);
        while let Some(from) = next {
            let page = placed::extents(&world.rows, from, limit).expect("lists");
            assert!(page.extents.len() <= limit);
            seen.extend(page.extents.into_iter().map(|(id, _)| id));
            next = page.next;
            steps += 1;
            if steps == 2 {
                world.unlink(Inode::ROOT, "f").expect("unlinks");
                crate::session::end(&mut world.rows, world.session, super::world::at(9)).expect("ends");
                while world.work(100) == crate::Progress::More {}
            }
        }
        seen.sort_unstable();
        seen.dedup();
        ids.sort_unstable();
        assert_eq!(seen, ids, "pages of {limit}");
    }
}

#[test]
fn an_extent_moves_on_once_and_never_back() {
    let (mut world, ids) = world();
    let later = Epoch::new(GROUP_EPOCH.get() + 2);
    let move_on =
        |from, to| ids.iter().map(|extent| Rehomed { extent: *extent, from, to }).collect::<Vec<_>>();
    let none = ExtentId { session: super::world::session_id(9), ..ids[0] };
    let unknown = Rehomed { extent: none, from: GROUP_EPOCH, to: later };
    assert_eq!(placed::rehome(&mut world.rows, &[unknown]), Ok(0));
    assert_eq!(placed::rehome(&mut world.rows, &move_on(later, GROUP_EPOCH)), Ok(0));
    assert_eq!(placed::rehome(&mut world.rows, &move_on(GROUP_EPOCH, later)), Ok(8), "dead ones too");
    assert_eq!(placed::rehome(&mut world.rows, &move_on(GROUP_EPOCH, later)), Ok(0));
    assert_eq!(placed::rehome(&mut world.rows, &move_on(later, GROUP_EPOCH)), Ok(0));
    for id in ids {
        let row = placed::find(&world.rows, id).expect("reads").expect("is there");
        assert_eq!(row.group_epoch, later);
    }
    invariants::check(&world.rows, world.names);
}
