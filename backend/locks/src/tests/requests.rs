//! Requests that come twice, late, or from who has not reclaimed.

use weft_types::{
    Epoch, FilesystemId, Inode, LockKind, LockMode, LockOwner, LockRange, SessionId, SlotId, SlotSeq,
};
use weft_wire::locks::{HeldLock, Lock, LockOp, LockOutcome, LockRefusal, Locked};

use crate::{Asked, LockServer, Reclaims};

const EPOCH: Epoch = Epoch::new(3);
const RANGE: LockRange = LockRange::new(10, 19).expect("a range");

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn call(from: u8, slot: u16, seq: u64, op: LockOp) -> Lock {
    Lock {
        filesystem: FilesystemId::from_bytes([9; 16]),
        session: session(from),
        epoch: EPOCH,
        slot: SlotId::new(slot),
        seq: SlotSeq::new(seq),
        inode: Inode::new(7),
        kind: LockKind::Posix,
        owner: LockOwner::new(1),
        op,
    }
}

fn set(wait: bool) -> LockOp {
    LockOp::Set { range: RANGE, mode: LockMode::Exclusive, pid: 5, wait }
}

const UNLOCK: LockOp = LockOp::Unlock { range: RANGE };
const TEST: LockOp = LockOp::Test { range: RANGE, mode: LockMode::Exclusive };

struct World {
    server: LockServer,
    reclaims: Reclaims,
}

impl World {
    fn new(open: &[u8]) -> Self {
        let reclaims = Reclaims::new(EPOCH, open.iter().map(|number| session(*number)));
        Self { server: LockServer::default(), reclaims }
    }

    fn ask(&mut self, call: &Lock) -> Asked {
        self.server.ask(call, &self.reclaims)
    }

    fn outcome(&mut self, call: &Lock) -> LockOutcome {
        match self.ask(call) {
            Asked::Answer(Locked { outcome, .. }) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_that_comes_again_gets_its_answer_and_does_nothing() {
    let mut world = World::new(&[]);
    let first = world.ask(&call(1, 0, 1, set(false)));
    assert_eq!(world.outcome(&call(1, 1, 1, UNLOCK)), LockOutcome::Done {});
    assert_eq!(world.ask(&call(1, 0, 1, set(false))), first, "the delayed duplicate is answered");
    assert_eq!(world.outcome(&call(2, 0, 1, TEST)), LockOutcome::Done {}, "and nothing is held");
    assert_eq!(world.outcome(&call(1, 0, 2, UNLOCK)), LockOutcome::Done {});
    assert_eq!(world.ask(&call(1, 0, 1, set(false))), Asked::Refused(LockRefusal::Overtaken));
    assert_eq!(world.server.table().locks(), 0);
}

#[test]
fn who_waits_keeps_its_place_and_is_told_when_it_is_granted() {
    let mut world = World::new(&[]);
    assert_eq!(world.outcome(&call(1, 0, 1, set(false))), LockOutcome::Done {});
    let wait = call(2, 0, 1, set(true));
    let behind = call(3, 0, 1, set(true));
    assert_eq!((world.ask(&wait), world.ask(&behind)), (Asked::Waits, Asked::Waits));
    assert_eq!(world.ask(&wait), Asked::Waits);
    let waiting = world.server.waiting();
    let unlocked = world.ask(&call(1, 0, 2, UNLOCK));
    assert_eq!(world.server.take_woken(), [(session(2), SlotId::new(0))]);
    let (Asked::Answer(unlocked), Asked::Answer(granted)) = (unlocked, world.ask(&wait)) else {
        panic!("answered")
    };
    assert_eq!(granted.outcome, LockOutcome::Done {});
    assert!(waiting.at < unlocked.at && unlocked.at < granted.at, "in the order in which they took effect");
    assert_eq!(world.ask(&behind), Asked::Waits);
}

#[test]
fn what_is_taken_back_is_not_granted_even_if_it_comes_later() {
    let mut world = World::new(&[]);
    let cancel = |slot, seq| LockOp::Cancel { slot: SlotId::new(slot), seq: SlotSeq::new(seq) };
    assert_eq!(world.outcome(&call(1, 1, 1, cancel(0, 1))), LockOutcome::Cancelled {});
    assert_eq!(world.outcome(&call(1, 0, 1, set(true))), LockOutcome::Cancelled {}, "it was on its way");
    assert_eq!(world.outcome(&call(1, 0, 2, set(true))), LockOutcome::Done {});
    let wait = call(2, 0, 1, set(true));
    assert_eq!(world.ask(&wait), Asked::Waits);
    assert_eq!(world.outcome(&call(2, 1, 1, cancel(0, 1))), LockOutcome::Cancelled {});
    assert_eq!(world.server.take_woken(), [(session(1), SlotId::new(0)), (session(2), SlotId::new(0))]);
    assert_eq!(world.outcome(&wait), LockOutcome::Cancelled {});
    assert_eq!(world.outcome(&call(1, 2, 1, cancel(0, 2))), LockOutcome::Done {}, "it was granted before");
    assert_eq!(world.outcome(&call(1, 3, 1, UNLOCK)), LockOutcome::Done {});
    assert_eq!(world.server.table().locks(), 0);
}

#[test]
fn who_does_not_ask_again_leaves_the_queue() {
    let mut world = World::new(&[]);
    world.outcome(&call(1, 0, 1, set(false)));
    let (silent, asking) = (call(2, 0, 1, set(true)), call(3, 0, 1, set(true)));
    assert_eq!((world.ask(&silent), world.ask(&asking)), (Asked::Waits, Asked::Waits));
    world.server.sweep();
    assert_eq!(world.ask(&asking), Asked::Waits);
    world.server.sweep();
    assert_eq!(world.outcome(&silent), LockOutcome::Cancelled {});
    world.outcome(&call(1, 0, 2, UNLOCK));
    assert_eq!(world.outcome(&asking), LockOutcome::Done {});
}

#[test]
fn the_end_of_a_session_lets_others_in() {
    let mut world = World::new(&[]);
    world.outcome(&call(1, 0, 1, set(false)));
    let (own, other) = (call(1, 1, 1, LockOp::Release {}), call(2, 0, 1, set(true)));
    assert_eq!(world.ask(&other), Asked::Waits);
    world.server.end_session(session(1));
    assert_eq!(world.outcome(&other), LockOutcome::Done {});
    assert_eq!(world.outcome(&own), LockOutcome::Done {});
}

#[test]
fn nobody_is_granted_anything_before_all_have_reclaimed() {
    let mut world = World::new(&[1, 2]);
    let refused = Asked::Refused(LockRefusal::ReclaimFirst { epoch: EPOCH });
    assert_eq!(world.ask(&call(1, 0, 1, set(false))), refused);
    assert_eq!(world.ask(&Lock { epoch: Epoch::new(2), ..call(3, 0, 1, set(false)) }), refused);
    assert_eq!(world.ask(&call(3, 0, 1, set(false))), Asked::TooEarly, "not even who has nothing to reclaim");
    assert_eq!(world.ask(&call(3, 0, 1, TEST)), Asked::TooEarly);
    let lock = HeldLock {
        inode: Inode::new(7),
        kind: LockKind::Posix,
        owner: LockOwner::new(1),
        range: RANGE,
        mode: LockMode::Exclusive,
        pid: 4,
    };
    assert_eq!(world.server.reclaim(session(1), &[lock]), []);
    assert_eq!(world.server.reclaim(session(1), &[lock]), [], "a part that comes twice");
    assert_eq!(world.server.reclaim(session(2), &[lock]), [lock], "both cannot have it");
    assert!(!world.reclaims.settle(session(1)));
    assert_eq!(world.ask(&call(1, 0, 1, set(false))), Asked::TooEarly);
    assert_eq!(world.outcome(&call(1, 1, 1, UNLOCK)), LockOutcome::Done {}, "one may let go");
    assert!(world.reclaims.settle(session(2)));
    assert_eq!(world.outcome(&call(3, 0, 1, set(false))), LockOutcome::Done {});
}
