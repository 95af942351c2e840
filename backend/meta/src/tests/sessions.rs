//! Sessions, and mutations that are done once.

use weft_types::{Inode, SlotId, SlotSeq};
use weft_wire::KeyBytes;
use weft_wire::meta::{MakeNode, MetaError, MetaOp, MetaReply, NewNode};

use super::world::{Keys, World, at, key_bytes, name, session_id, session_row};
use crate::session::SessionState;
use crate::slot::{self, Attempt};
use crate::{Progress, is_mutation, session};

const SLOT: SlotId = SlotId::new(3);

fn make(text: &str) -> MetaOp {
    MetaOp::MakeNode(MakeNode {
        parent: Inode::ROOT,
        name: name(text),
        node: NewNode::File,
        mode: 0o644,
        umask: 0,
    })
}

/// What a runner does with a mutation.
fn once(world: &mut World, seq: u64, op: &MetaOp) -> Result<MetaReply, MetaError> {
    let (session, seq) = (world.session, SlotSeq::new(seq));
    if let Attempt::Replay(answer) = slot::replay(&world.rows, &Keys, session, SLOT, seq)? {
        return answer;
    }
    let answer = world.run(op);
    slot::record(&mut world.rows, session, SLOT, seq, &answer);
    answer
}

#[test]
fn only_an_open_session_is_served() {
    let mut world = World::new();
    let get = MetaOp::GetAttributes { inode: Inode::ROOT };
    world.session = session_id(2);
    assert_eq!(world.run(&get), Err(MetaError::SessionEnded));
    session::open(&mut world.rows, world.session, &session_row(true));
    assert!(world.run(&get).is_ok());
    assert_eq!(world.run(&make("f")), Err(MetaError::ReadOnly));
    assert_eq!(session::end(&mut world.rows, world.session, at(9)), Ok(true));
    assert_eq!(session::end(&mut world.rows, world.session, at(9)), Ok(false));
    assert_eq!(world.run(&get), Err(MetaError::SessionEnded));
    assert_eq!(world.run(&make("f")), Err(MetaError::SessionEnded));
}

#[test]
fn sessions_are_listed_in_pages() {
    let mut world = World::new();
    for number in 2..8 {
        session::open(&mut world.rows, session_id(number), &session_row(true));
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = session::list(&world.rows, after, 3).expect("lists");
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        seen.extend(page);
    }
    let ids: Vec<_> = seen.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..8).map(session_id).collect::<Vec<_>>());
    assert!(!seen[0].1.read_only && seen[1].1 == session_row(true));
}

#[test]
fn a_retry_gets_the_first_answer() {
    let mut world = World::new();
    let first = once(&mut world, 1, &make("f")).expect("makes");
    let MetaReply::Opened(opened) = &first else { panic!("not opened") };
    assert_eq!(opened.key.key, KeyBytes::new(key_bytes(opened.key.id)));
    let rows = world.rows.clone();
    assert_eq!(once(&mut world, 1, &make("f")), Ok(first));
    assert_eq!(world.rows, rows);
    assert_eq!(once(&mut world, 5, &make("f")), Err(MetaError::Exists));
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    assert_eq!(once(&mut world, 5, &make("f")), Err(MetaError::Exists), "a refusal is an answer too");
    assert_eq!(once(&mut world, 4, &make("f")), Err(MetaError::SlotOutOfStep));
    assert!(once(&mut world, 6, &make("f")).is_ok());
}

#[test]
fn no_row_holds_a_key_that_is_not_wrapped() {
    let mut world = World::new();
    let MetaReply::Opened(opened) = once(&mut world, 1, &make("f")).expect("makes") else {
        panic!("not opened")
    };
    let key = opened.key.key.expose();
    assert!(world.rows.rows.values().all(|value| !value.windows(32).any(|bytes| bytes == key)));
}

#[test]
fn a_session_takes_its_slots_and_orphans_along() {
    let mut world = World::new();
    world.file(Inode::ROOT, "kept");
    let kept = world.rows.rows.len();
    once(&mut world, 1, &make("f")).expect("makes");
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    session::end(&mut world.rows, world.session, at(9)).expect("ends");
    assert_eq!(world.work(1), Progress::More);
    while world.work(1) == Progress::More {}
    assert_eq!(world.rows.rows.len(), kept, "the session's row has become one that says it is closing");
}

#[test]
fn another_sessions_orphan_is_not_reaped() {
    let mut world = World::new();
    let file = world.file(Inode::ROOT, "f");
    world.unlink(Inode::ROOT, "f").expect("unlinks");
    world.session = session_id(2);
    session::open(&mut world.rows, world.session, &session_row(false));
    world.run(&MetaOp::Reap { inodes: vec![file] }).expect("ignores it");
    assert_eq!(world.attributes(file).links, 0);
}

#[test]
fn reads_are_no_mutations() {
    assert!(is_mutation(&make("f")) && is_mutation(&MetaOp::Reap { inodes: Vec::new() }));
    assert!(!is_mutation(&MetaOp::GetSpace) && !is_mutation(&MetaOp::Open { inode: Inode::ROOT }));
}

#[test]
fn an_ended_session_is_remembered_until_nothing_of_it_can_be_on_drives() {
    let mut world = World::new();
    for number in 2..6 {
        session::open(&mut world.rows, session_id(number), &session_row(false));
        session::end(&mut world.rows, session_id(number), at(i64::from(number))).expect("ends");
    }
    let state = |world: &World, number| session::state(&world.rows, session_id(number)).expect("reads");
    assert_eq!(
        [state(&world, 1), state(&world, 2), state(&world, 9)],
        [SessionState::Open, SessionState::Closing, SessionState::Unknown]
    );
    let closing = session::closing(&world.rows, 3).expect("lists");
    assert_eq!(closing, (2..5).map(|number| (session_id(number), at(i64::from(number)))).collect::<Vec<_>>());
    assert_eq!(session::forget_closed(&mut world.rows, &[session_id(2)]), Ok(()));
    assert_eq!(state(&world, 2), SessionState::Closing, "what a drive may still take is not forgotten");
    for (number, was) in [(1, false), (3, true), (3, false), (9, false)] {
        assert_eq!(session::closed_everywhere(&mut world.rows, session_id(number), at(20)), Ok(was));
    }
    assert_eq!(state(&world, 3), SessionState::Closed(at(20)));
    assert_eq!(session::closed(&world.rows, 9), Ok(vec![(session_id(3), at(20))]));
    let left: Vec<_> =
        session::closing(&world.rows, 9).expect("lists").into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [session_id(2), session_id(4), session_id(5)]);
    session::forget_closed(&mut world.rows, &[session_id(3)]).expect("forgets");
    assert_eq!(state(&world, 3), SessionState::Unknown);
}
