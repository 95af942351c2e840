use std::sync::{Arc, Condvar, Mutex};

use weft_engine::{AppendError, Batch, Index, Log, MemoryLog, ReadError, Room, TrimError};
use weft_keys::{EpochSalt, OwnershipSealer};
use weft_types::{MetadataShard, Position};
use weft_wire::meta::{Attributes, ListDirectory};

use super::*;
use crate::rows::{Openers, Sealer};

const SHARD: MetadataShard = MetadataShard::new(0);

/// A log that appends only while its gate is open.
struct Gated {
    log: MemoryLog,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Log for Gated {
    fn shard(&self) -> MetadataShard {
        self.log.shard()
    }
    fn end(&self) -> Position {
        self.log.end()
    }
    fn start(&self) -> Position {
        self.log.start()
    }
    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }
    fn seal(&mut self, epoch: Epoch) -> Result<Position, weft_engine::SealError> {
        self.log.seal(epoch)
    }
    fn room(&mut self, bytes: usize) -> std::io::Result<Room> {
        self.log.room(bytes)
    }
    fn append(&mut self, batch: &Batch, from: Room) -> Result<Position, AppendError> {
        let (open, changed) = &*self.gate;
        drop(changed.wait_while(open.lock().expect("gate"), |open| !*open).expect("gate"));
        self.log.append(batch, from)
    }
    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Batch>, ReadError> {
        self.log.read(after, bytes)
    }
    fn trim(&mut self, up_to: Position) -> Result<(), TrimError> {
        self.log.trim(up_to)
    }
}

/// An owner on a log in memory.
struct Bench {
    dir: tempfile::TempDir,
    log: MemoryLog,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Bench {
    fn new() -> Self {
        let gate = Arc::new((Mutex::new(true), Condvar::new()));
        Self { dir: tempfile::tempdir().expect("directory"), log: MemoryLog::new(SHARD), gate }
    }

    fn set_gate(&self, open: bool) {
        *self.gate.0.lock().expect("gate") = open;
        self.gate.1.notify_all();
    }

    fn open(&self, epoch: u64) -> Owner {
        let mut log = Gated { log: self.log.clone(), gate: Arc::clone(&self.gate) };
        let epoch = Epoch::new(epoch);
        log.seal(epoch).expect("seals");
        let recovered = weft_engine::recover(&log, &self.dir.path().join("index")).expect("recovers");
        let index: Arc<Index> = Arc::new(recovered.index);
        let keys = Keys::of_a_test(FILESYSTEM);
        let salt = EpochSalt::from_random(crate::random::array());
        let salts: Vec<_> =
            index.salts().expect("reads").into_iter().map(|(epoch, salt, _)| (epoch, salt)).collect();
        let openers =
            Openers::new(keys.metadata(), FILESYSTEM, SHARD, salts.into_iter().chain([(epoch, salt)]));
        let sealer = Sealer::new(OwnershipSealer::new(keys.metadata(), FILESYSTEM, SHARD, epoch, salt), salt);
        let owner =
            Owner::start(FILESYSTEM, Some(keys), settings(), index, openers, log, sealer).expect("starts");
        owner.format_if_new().expect("formats");
        owner.renew_all().expect("renews");
        owner
    }
}

fn durable_with(attempt: &Attempt) -> u64 {
    match attempt {
        Attempt::Answer { durable_with, .. } => *durable_with,
        Attempt::Full => panic!("full"),
    }
}

#[test]
fn an_answer_waits_for_all_that_it_saw_and_only_for_that() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    let old = inode_of(&frontend.ask(&owner, create("old")).expect("made"));
    // What is durable is in the index soon after; a look at it depends on nothing then.
    while durable_with(
        &execute(&owner, &frontend.call(MetaOp::GetAttributes { inode: old })).expect("serves"),
    ) > 0
    {
        std::thread::yield_now();
    }
    bench.set_gate(false);
    let before = owner.progress().borrow().durable;
    let made = execute(&owner, &frontend.call(create("new"))).expect("serves");
    let seen = execute(&owner, &frontend.call(lookup("new"))).expect("serves");
    let missed = execute(&owner, &frontend.call(lookup("other"))).expect("serves");
    let unrelated = execute(&owner, &frontend.call(MetaOp::GetAttributes { inode: old })).expect("serves");
    assert!(durable_with(&made) > before);
    assert_eq!(durable_with(&seen), durable_with(&made));
    assert!(durable_with(&missed) > before, "the directory was changed by what is not durable");
    assert!(durable_with(&unrelated) <= before);
    assert_eq!(owner.progress().borrow().durable, before);
    bench.set_gate(true);
    block_on(owner.durable(durable_with(&seen))).expect("durable");
}

#[test]
fn the_next_batch_fills_while_one_is_in_flight_and_is_bounded() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    bench.set_gate(false);
    let value = vec![1_u8; 60_000];
    let mut filled = 0_usize;
    let last = loop {
        let op = MetaOp::SetXattr(weft_wire::meta::SetXattr {
            inode: Inode::ROOT,
            name: format!("user.{}", filled % 16).into_bytes().into(),
            value: value.clone().into(),
            mode: weft_wire::meta::XattrMode::Any,
        });
        let call = frontend.call(op);
        match execute(&owner, &call).expect("serves") {
            Attempt::Full => break call,
            Attempt::Answer { answer, .. } => assert_eq!(answer, Ok(MetaReply::Done)),
        }
        filled += 1;
        assert!(filled < 1000, "there is no bound");
    };
    // It waits, and is done once there is room.
    bench.set_gate(true);
    assert_eq!(block_on(owner.meta(NODE, &last, &view())), Ok(Ok(MetaReply::Done)));
    assert!(bench.log.read(Position::default(), usize::MAX).expect("reads").len() > 1);
}

#[test]
fn a_failed_log_deposes_the_owner_and_the_next_one_answers_the_retry() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    frontend.ask(&owner, create("before")).expect("made");
    bench.log.set_failing(true);
    let call = frontend.call(create("during"));
    assert_eq!(block_on(owner.meta(NODE, &call, &view())), Err(Fault::NotServing));
    assert!(!owner.is_serving());
    assert_eq!(execute(&owner, &frontend.call(lookup("before"))), Err(Fault::NotServing));
    bench.log.set_failing(false);
    // The failed owner is still held by someone; its files are free all the same.
    owner.close();
    let next = bench.open(2);
    let made = block_on(next.meta(NODE, &call, &view())).expect("serves").expect("made");
    let again = block_on(next.meta(NODE, &call, &view())).expect("serves").expect("made");
    assert_eq!(made, again);
    frontend.ask(&next, lookup("before")).expect("is there");
    assert_eq!(next.renew_session(NODE, frontend.session, Instant::now()), Ok(true), "sessions survive");
}

#[test]
fn a_repeated_mutation_gets_the_first_answer_and_is_done_once() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    let call = frontend.call(create("a"));
    let first = block_on(owner.meta(NODE, &call, &view())).expect("serves");
    assert!(first.is_ok());
    assert_eq!(block_on(owner.meta(NODE, &call, &view())).expect("serves"), first);
    let refused = frontend.call(create("a"));
    assert_eq!(block_on(owner.meta(NODE, &refused, &view())), Ok(Err(MetaError::Exists)));
    frontend.ask(&owner, lookup("a")).expect("is there");
    assert_eq!(
        block_on(owner.meta(NODE, &refused, &view())),
        Ok(Err(MetaError::Exists)),
        "a refusal is kept too"
    );
    assert_eq!(block_on(owner.meta(NODE, &call, &view())), Ok(Err(MetaError::SlotOutOfStep)));
    let mut wrong = frontend.call(create("b"));
    wrong.slot = SlotId::new(settings().slots);
    assert_eq!(block_on(owner.meta(NODE, &wrong, &view())), Ok(Err(MetaError::SlotOutOfStep)));
}

#[test]
fn a_refused_operation_leaves_nothing_but_its_record() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    let root = |frontend: &mut Frontend| -> Attributes {
        match frontend.ask(&owner, MetaOp::GetAttributes { inode: Inode::ROOT }) {
            Ok(MetaReply::Attributes(attributes)) => attributes,
            other => panic!("{other:?}"),
        }
    };
    let before = root(&mut frontend);
    assert_eq!(frontend.ask(&owner, unlink("none")), Err(MetaError::NotFound));
    assert_eq!(root(&mut frontend), before);
}

#[test]
fn without_room_only_what_makes_room_goes_through() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    frontend.ask(&owner, create("a")).expect("made");
    for (room, removed) in [(Room::Reserve, Ok(())), (Room::None, Err(MetaError::NoSpace))] {
        bench.log.set_room(Room::Ample);
        frontend.ask(&owner, create(&format!("{room:?}"))).expect("made");
        bench.log.set_room(room);
        let mut progress = owner.progress();
        let reached = block_on(async { progress.wait_for(|progress| progress.room == room).await.map(drop) });
        reached.expect("the owner learns of it");
        assert_eq!(frontend.ask(&owner, create("b")), Err(MetaError::NoSpace));
        assert_eq!(frontend.ask(&owner, unlink(&format!("{room:?}"))).map(drop), removed);
        frontend.ask(&owner, lookup("a")).expect("reading goes on");
        bench.log.set_room(Room::Ample);
        let reached =
            block_on(async { progress.wait_for(|progress| progress.room == Room::Ample).await.map(drop) });
        reached.expect("the owner learns of it");
    }
}

#[test]
fn a_directory_lists_what_is_not_durable_yet_and_waits_for_it() {
    let bench = Bench::new();
    let owner = bench.open(1);
    let mut frontend = Frontend::attach(&owner);
    bench.set_gate(false);
    for text in ["x", "y", "z"] {
        execute(&owner, &frontend.call(create(text))).expect("serves");
    }
    let list = ListDirectory { inode: Inode::ROOT, after: 0, limit: 10, with_attributes: true };
    let listed = execute(&owner, &frontend.call(MetaOp::ListDirectory(list))).expect("serves");
    bench.set_gate(true);
    let Attempt::Answer { answer: Ok(MetaReply::Directory(page)), durable_with } = listed else {
        panic!("{listed:?}")
    };
    assert_eq!((page.entries.len(), page.end), (3, true));
    assert!(durable_with >= 2);
}

#[test]
fn an_owner_closes_also_when_there_is_no_space_for_what_is_left() {
    let bench = Bench::new();
    let owner = Arc::new(bench.open(1));
    let mut frontend = Frontend::attach(&owner);
    frontend.ask(&owner, create("a")).expect("made");
    bench.set_gate(false);
    let made = execute(&owner, &frontend.call(create("b"))).expect("serves");
    bench.log.set_room(Room::None);
    bench.set_gate(true);
    let (closed, told) = std::sync::mpsc::channel();
    let closing = Arc::clone(&owner);
    std::thread::spawn(move || {
        closing.close();
        closed.send(()).expect("somebody waits");
    });
    told.recv_timeout(Duration::from_secs(30)).expect("it closes");
    assert_eq!(block_on(owner.durable(durable_with(&made))), Err(Fault::NotServing));
}
