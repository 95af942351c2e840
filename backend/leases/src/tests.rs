//! The table against clients that remember what they may, and forget when they get round to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weft_types::{Epoch, Inode, SessionId};
use weft_wire::coherence::{Ack, Hold, HoldMode, Term, What};
use weft_wire::meta::Name;

use crate::{Leases, Need, NotAttached, Verdict, WaitId};

const CLIENTS: usize = 3;
const INODES: u64 = 3;
const EPOCH: Epoch = Epoch::new(7);

fn session(client: usize) -> SessionId {
    SessionId::from_bytes([client as u8 + 1; 16])
}

fn name(number: u8) -> Name {
    Name::new(&[b'a' + number]).expect("a name")
}

/// A part of an inode that a client remembers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Attributes,
    Data,
    Name(Name),
    Writing,
}

/// One client: what it remembers, and what it was asked to do.
#[derive(Debug, Default)]
struct Client {
    term: Option<Term>,
    alone: bool,
    heard: u64,
    remembers: BTreeSet<(Inode, Part)>,
    recalls: VecDeque<(u64, Inode, What)>,
    /// The last recall of each inode that it has begun.
    forgot: BTreeMap<Inode, u64>,
    waits: Option<(Need, WaitId)>,
}

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, Need),
    /// A client hears what is recalled.
    Hear(usize),
    /// A client does the first thing that it was asked.
    Forget(usize),
    Reopen(usize),
}

fn need() -> impl Strategy<Value = Need> {
    let inode = (2..2 + INODES).prop_map(Inode::new);
    prop_oneof![
        4 => inode.clone().prop_map(Need::Read),
        2 => (inode.clone(), 0..2_u8).prop_map(|(inode, number)| Need::Name(inode, name(number))),
        2 => inode.clone().prop_map(Need::Attributes),
        1 => inode.clone().prop_map(Need::Data),
        3 => inode.clone().prop_map(Need::Write),
        1 => inode.clone().prop_map(Need::Gone),
        1 => inode.prop_map(Need::Writers),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        8 => (client.clone(), need()).prop_map(|(client, need)| Step::Ask(client, need)),
        4 => client.clone().prop_map(Step::Hear),
        4 => client.clone().prop_map(Step::Forget),
        1 => client.prop_map(Step::Reopen),
    ]
}

struct World {
    table: Leases,
    clients: Vec<Client>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let mut world = Self { table: Leases::new(EPOCH, [], now), clients, now };
        (0..CLIENTS).for_each(|client| world.open(client));
        world
    }

    fn open(&mut self, client: usize) {
        let place = self.table.open(session(client), self.now);
        let fresh = Client { term: Some(place.term), alone: place.alone, ..Client::default() };
        self.clients[client] = fresh;
    }

    fn attach(&mut self, client: usize) {
        let known = &mut self.clients[client];
        let writes = known.remembers.iter().filter(|(_, part)| *part == Part::Writing);
        let holds: Vec<_> =
            writes.map(|(inode, _)| Hold { inode: *inode, mode: HoldMode::Exclusive }).collect();
        known.remembers.retain(|(inode, _)| holds.iter().any(|hold| hold.inode == *inode));
        let place = self.table.attach(session(client), &holds, self.now).expect("is open");
        known.recalls.clear();
        known.forgot.clear();
        (known.term, known.alone, known.heard) = (Some(place.term), place.alone, 0);
    }

    /// Asks; what was asked for before goes on to be asked for.
    fn ask(&mut self, client: usize, need: Need) {
        let (need, waited) = match self.clients[client].waits.take() {
            Some((need, id)) => (need, Some(id)),
            None => (need, None),
        };
        let Some(term) = self.clients[client].term else { return };
        let needs = [need.clone()];
        match self.table.admit(session(client), term, &needs, waited, self.now) {
            Err(NotAttached) => {
                if let Some(id) = waited {
                    self.table.leave(id);
                }
                self.attach(client);
            }
            Ok(Verdict::Wait(id)) => self.clients[client].waits = Some((need, id)),
            Ok(Verdict::Go { stamp, .. }) => {
                if let Some(id) = waited {
                    self.table.leave(id);
                }
                self.nobody_contradicts(client, &need);
                let known = &mut self.clients[client];
                let late = known.forgot.get(&need.inode()).is_some_and(|number| *number > stamp.recalled);
                if stamp.leased && !late {
                    remember(known, &need);
                }
            }
        }
    }

    fn nobody_contradicts(&self, client: usize, need: &Need) {
        for (other, known) in self.clients.iter().enumerate().filter(|(other, _)| *other != client) {
            for (_, part) in known.remembers.iter().filter(|(inode, _)| *inode == need.inode()) {
                let stale = match need {
                    Need::Read(_) => *part == Part::Writing,
                    Need::Name(_, name) => *part == Part::Name(name.clone()) || *part == Part::Attributes,
                    Need::Attributes(_) => *part == Part::Attributes || *part == Part::Writing,
                    Need::Data(_) => {
                        !self.table.stand_in_each_others_way(session(client), session(other), need)
                    }
                    Need::Write(_) | Need::Gone(_) => true,
                    Need::Writers(_) => false,
                };
                // A directory's other names stay, also of one that is written to: there is no such thing.
                let names = matches!(part, Part::Name(_)) && !matches!(need, Need::Gone(_));
                assert!(
                    !stale || names && !matches!(need, Need::Name(..)),
                    "{other} remembers {part:?} of {need:?}"
                );
            }
        }
    }

    fn hear(&mut self, client: usize) {
        let known = &self.clients[client];
        let Some(term) = known.term else { return };
        let recalls = self.table.recalls(session(client), term, known.heard).expect("is open");
        if recalls.attach {
            return self.attach(client);
        }
        let known = &mut self.clients[client];
        for recall in recalls.recalls {
            known.heard = recall.number;
            let last = known.forgot.entry(recall.inode).or_default();
            *last = recall.number.max(*last);
            known.recalls.push_back((recall.number, recall.inode, recall.what));
        }
    }

    fn forget(&mut self, client: usize) {
        let known = &mut self.clients[client];
        let (Some(term), Some((number, inode, what))) = (known.term, known.recalls.pop_front()) else {
            return;
        };
        known.remembers.retain(|(remembered, part)| {
            let gone = match &what {
                What::Name(name) => *part == Part::Name(name.clone()) || *part == Part::Attributes,
                What::Attributes => *part == Part::Attributes,
                What::Writing => *part == Part::Writing,
                What::All | What::Gone => true,
                What::Writers => false,
            };
            *remembered != inode || !gone
        });
        self.table.acknowledge(session(client), term, &[Ack { number, open: false }]);
    }

    /// Everybody does what is asked until nobody waits.
    fn settle(&mut self) {
        for _ in 0..1000 {
            for client in 0..CLIENTS {
                self.hear(client);
                while !self.clients[client].recalls.is_empty() {
                    self.forget(client);
                }
                if let Some((need, _)) = self.clients[client].waits.clone() {
                    self.ask(client, need);
                }
            }
            if self.clients.iter().all(|client| client.waits.is_none()) {
                return;
            }
        }
        panic!("somebody waits for ever: {:?}", self.clients);
    }
}

fn remember(known: &mut Client, need: &Need) {
    let inode = need.inode();
    let parts = match need {
        Need::Read(_) => vec![Part::Attributes, Part::Data, Part::Name(name(0)), Part::Name(name(1))],
        Need::Name(_, name) => vec![Part::Attributes, Part::Name(name.clone())],
        Need::Attributes(_) | Need::Data(_) | Need::Gone(_) => vec![Part::Attributes],
        Need::Write(_) => vec![Part::Attributes, Part::Data, Part::Writing],
        Need::Writers(_) => Vec::new(),
    };
    known.remembers.extend(parts.into_iter().map(|part| (inode, part)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_executed_that_contradicts_what_another_session_remembers_and_nobody_waits_for_ever(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Ask(client, need) => world.ask(client, need),
                Step::Hear(client) => world.hear(client),
                Step::Forget(client) => world.forget(client),
                Step::Reopen(client) => {
                    if let Some((_, id)) = world.clients[client].waits.take() {
                        world.table.leave(id);
                    }
                    world.table.end(session(client));
                    world.open(client);
                }
            }
        }
        world.settle();
    }
}

/// One that came earlier is told the attributes that the session had forgotten for one that came later.
#[test]
fn what_a_session_got_after_it_forgot_is_asked_of_it_anew() {
    let mut world = World::new();
    let inode = Inode::new(2);
    world.settle();
    (0..2).for_each(|client| world.ask(client, Need::Read(inode)));
    world.ask(1, Need::Data(inode));
    world.ask(0, Need::Name(inode, name(0)));
    for client in [1, 0] {
        world.hear(client);
        world.forget(client);
    }
    let waiting = |world: &World| [0, 1].map(|client: usize| world.clients[client].waits.is_some());
    assert_eq!(waiting(&world), [true, true]);
    world.ask(1, Need::Read(inode));
    assert_eq!(waiting(&world), [true, false]);
    assert!(world.clients[1].remembers.contains(&(inode, Part::Attributes)));
    world.ask(0, Need::Read(inode));
    assert_eq!(waiting(&world), [true, false], "what was forgotten is known again");
    world.settle();
}

#[test]
fn who_does_not_forget_in_time_is_overdue_unless_it_is_seen_to_commit() {
    let mut world = World::new();
    let inode = Inode::new(2);
    world.settle();
    world.ask(0, Need::Write(inode));
    world.settle();
    world.ask(1, Need::Read(inode));
    let late = world.now + Duration::from_secs(11);
    assert_eq!(world.table.overdue(world.now), []);
    assert_eq!(world.table.overdue(late), [session(0)]);
    world.table.progressed(session(0), world.now + Duration::from_secs(9));
    assert_eq!(world.table.overdue(late), []);
    assert_eq!(world.table.overdue(world.now + Duration::from_secs(61)), [session(0)]);
}

#[test]
fn who_is_alone_is_not_counted_and_attaches_when_another_comes() {
    let now = Instant::now();
    let mut table = Leases::new(EPOCH, [], now);
    let first = table.open(session(0), now);
    assert!(first.alone && table.is_alone(session(0)));
    let second = table.open(session(1), now);
    assert!(!second.alone && !table.is_alone(session(0)));
    let read = [Need::Read(Inode::ROOT)];
    assert_eq!(table.admit(session(0), first.term, &read, None, now), Err(NotAttached));
    let waits = table.admit(session(1), second.term, &read, None, now);
    assert!(matches!(waits, Ok(Verdict::Wait(_))), "the first may remember anything: {waits:?}");
    assert!(table.recalls(session(0), first.term, 0).expect("is open").attach);
    table.attach(session(0), &[], now).expect("is open");
    let Ok(Verdict::Wait(id)) = waits else { panic!("it waited") };
    let goes = table.admit(session(1), second.term, &read, Some(id), now);
    assert!(matches!(goes, Ok(Verdict::Go { .. })), "{goes:?}");
    table.end(session(0));
    assert!(table.recalls(session(1), second.term, 0).expect("is open").attach, "it is alone now");
    assert!(table.attach(session(1), &[], now).expect("is open").alone);
}

#[test]
fn of_two_that_must_commit_before_they_forget_one_goes_first() {
    let mut world = World::new();
    let inode = Inode::new(2);
    world.settle();
    let mut ask = |client: usize, need: Need| {
        let term = world.clients[client].term.expect("has attached");
        world.table.admit(session(client), term, &[need], None, world.now).expect("is attached")
    };
    for client in [0, 1] {
        assert!(matches!(ask(client, Need::Read(inode)), Verdict::Go { .. }));
    }
    // Each is asked to forget the file for the other, and has something to commit before.
    for client in [0, 1] {
        assert!(matches!(ask(client, Need::Write(inode)), Verdict::Wait(_)));
    }
    assert!(matches!(ask(0, Need::Data(inode)), Verdict::Wait(_)));
    assert!(matches!(ask(1, Need::Data(inode)), Verdict::Go { .. }));
}

#[test]
fn after_a_takeover_nobody_goes_before_all_have_attached_or_ended() {
    let now = Instant::now();
    let mut table = Leases::new(EPOCH, [session(0), session(1)], now);
    let place = table.attach(session(0), &[], now).expect("is open");
    let read = [Need::Read(Inode::ROOT)];
    let Ok(Verdict::Wait(id)) = table.admit(session(0), place.term, &read, None, now) else {
        panic!("the other may hold back what it wrote");
    };
    table.end(session(1));
    let goes = table.admit(session(0), place.term, &read, Some(id), now);
    assert!(matches!(goes, Ok(Verdict::Go { .. })), "{goes:?}");
}
