//! Clients without a core: they keep their slots themselves, send everything more than once, and check every answer.
//!
//! Each register is a name in the root directory that is there with some mode, or is not.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weft_core::{Backend, Failure};
use weft_types::{FilesystemId, Inode, SessionId, SlotId, SlotSeq};
use weft_wire::coherence::{Ack, AckRecalls, Attach, Term, WatchRecalls};
use weft_wire::compute::{CloseSession, Meta, MetaDone, RenewSession, SessionOpened};
use weft_wire::meta::{Caller, MakeNode, MetaError, MetaOp, MetaReply, Name, NewNode};

use crate::compute::Served;
use crate::dice::Dice;
use crate::frontend::Frontend;
use crate::history::Register;
use crate::trace::Invariant;
use crate::world::{COMPUTES, World};

/// Registers.
const REGISTERS: usize = 5;
/// One attempt of a call.
const ATTEMPT: Duration = Duration::from_secs(4);

/// The mode of what has the name, if anything has it.
type Value = Option<u16>;

/// The registers, as everybody knows them.
pub(crate) struct Registers {
    state: Mutex<State>,
}

struct State {
    registers: Vec<Register<Value>>,
    /// The next mode; none is used twice.
    next: u16,
    writes: u64,
    reads: u64,
}

impl Default for Registers {
    fn default() -> Self {
        let registers = vec![Register::new(None); REGISTERS];
        Self { state: Mutex::new(State { registers, next: 1, writes: 0, reads: 0 }) }
    }
}

impl Registers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes that were acknowledged, and reads that were answered.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.writes, state.reads)
    }
}

fn name(register: usize) -> Name {
    Name::new(format!("r{register}").as_bytes()).expect("a name")
}

/// One session.
pub(crate) struct Raw {
    frontend: Frontend,
    session: SessionOpened,
    place: Arc<Mutex<Term>>,
    registers: Arc<Registers>,
    /// The last sequence of each slot.
    slots: BTreeMap<usize, u64>,
    dice: Dice,
}

impl Raw {
    /// Opens a session; `None`: not within `patience`.
    pub(crate) async fn open(
        frontend: Frontend,
        registers: &Arc<Registers>,
        writes: Option<Option<SessionId>>,
        dice: Dice,
        patience: Duration,
    ) -> Option<Self> {
        let (session, _) = frontend.open(writes.is_none(), writes.flatten(), patience).await?;
        let registers = Arc::clone(registers);
        let place = Arc::new(Mutex::new(session.place.term));
        let life = frontend.endpoint.life.clone();
        let (filesystem, id) = (session.filesystem, session.session);
        let heeds = heed(frontend.clone(), filesystem, id, Arc::downgrade(&place));
        let keeps = keep(frontend.clone(), filesystem, id, Arc::downgrade(&place));
        tokio::spawn(async move { life.run(async { tokio::join!(heeds, keeps) }).await });
        Some(Self { frontend, session, place, registers, slots: BTreeMap::new(), dice })
    }

    /// The session.
    pub(crate) fn session(&self) -> SessionId {
        self.session.session
    }

    fn world(&self) -> &Arc<World> {
        &self.frontend.world
    }

    fn call(&mut self, slot: usize, op: MetaOp) -> Meta {
        let seq = self.slots.entry(slot).or_default();
        *seq += 1;
        Meta {
            filesystem: self.session.filesystem,
            session: self.session.session,
            slot: SlotId::new(slot as u16),
            seq: SlotSeq::new(*seq),
            caller: Caller::default(),
            op,
            term: *self.place.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Reads one register and checks the answer; false: the session has ended.
    pub(crate) async fn read(&mut self, register: usize, settles: bool) -> bool {
        let began = self.world().trace.elapsed();
        // Reads have no slot.
        let op = MetaOp::Lookup { parent: Inode::ROOT, name: Some(name(register)), map_entries: None };
        let mut call = self.call(0, op);
        *self.slots.entry(0).or_default() -= 1;
        call.seq = SlotSeq::new(0);
        let Some(answer) = persist(&self.frontend, &call, &self.place).await else { return false };
        let value = match answer {
            Ok(MetaReply::Attributes(attributes)) => Some(attributes.mode & 0o7777),
            Ok(MetaReply::Absent) => None,
            Err(MetaError::SessionEnded) => return false,
            other => {
                self.world().trace.violate(Invariant::Serves, format_args!("a lookup answers {other:?}"));
                return false;
            }
        };
        let ended = self.world().trace.elapsed();
        let mut state = self.registers.state();
        state.reads += 1;
        let read = match settles {
            true => state.registers[register].settle(&value, began, ended),
            false => state.registers[register].read(&value, began, ended).map(drop),
        };
        drop(state);
        if let Err(fault) = read {
            // Who settles comes after all who wrote: what is not there now never comes.
            let invariant = if settles { Invariant::AcknowledgedStays } else { Invariant::NothingStale };
            self.world().trace.violate(invariant, format_args!("r{register}: {fault}"));
        }
        true
    }

    /// Reads every register, once all earlier writers have ended; false: the session has ended.
    pub(crate) async fn settle(&mut self) -> bool {
        for register in 0..REGISTERS {
            if !self.read(register, true).await {
                return false;
            }
        }
        true
    }

    /// Reads as long as the session lives and nobody says stop.
    pub(crate) async fn read_on(&mut self, stop: impl Fn() -> bool) {
        while !stop() && !self.world().trace.is_violated() {
            let register = self.dice.index(REGISTERS);
            if !self.read(register, false).await {
                return;
            }
            let pause = self.dice.between(Duration::from_millis(20), Duration::from_millis(400));
            sleep(pause).await;
        }
    }

    /// Changes some registers at once; false: the session has ended.
    pub(crate) async fn write(&mut self) -> bool {
        let mut calls = JoinSet::new();
        for register in 0..REGISTERS {
            if !self.dice.per_mille(400) {
                continue;
            }
            let began = self.world().trace.elapsed();
            let (op, number) = {
                let mut state = self.registers.state();
                let mode = state.next;
                state.next += 1;
                let there = state.registers[register].last().is_some();
                let parent = Inode::ROOT;
                let (op, value) = if there {
                    (MetaOp::Unlink { parent, name: name(register) }, None)
                } else {
                    let node = NewNode::File;
                    (
                        MetaOp::MakeNode(MakeNode { parent, name: name(register), node, mode, umask: 0 }),
                        Some(mode),
                    )
                };
                (op, state.registers[register].begin(value, began))
            };
            let call = self.call(register, op);
            self.repeat(&call);
            let (frontend, place) = (self.frontend.clone(), Arc::clone(&self.place));
            calls.spawn(async move { (register, number, persist(&frontend, &call, &place).await) });
        }
        let mut alive = true;
        while let Some(done) = calls.join_next().await {
            let Ok((register, number, answer)) = done else { continue };
            let now = self.world().trace.elapsed();
            match answer {
                Some(Ok(_)) => {
                    let mut state = self.registers.state();
                    state.writes += 1;
                    state.registers[register].acknowledge(number, now);
                }
                Some(Err(MetaError::NoSpace)) => self.registers.state().registers[register].void(number),
                None | Some(Err(MetaError::SessionEnded)) => alive = false,
                Some(Err(refusal)) => {
                    self.world()
                        .trace
                        .violate(Invariant::Serves, format_args!("r{register} is refused: {refusal}"));
                }
            }
        }
        alive
    }

    /// Sends a call once more, now or later, wherever; nobody waits for the answer.
    fn repeat(&mut self, call: &Meta) {
        for _ in 0..self.dice.below(3) {
            let (frontend, call) = (self.frontend.clone(), call.clone());
            let late = self.dice.between(Duration::ZERO, Duration::from_secs(3));
            let (late, to) =
                (if self.dice.per_mille(500) { Duration::ZERO } else { late }, self.dice.index(COMPUTES));
            let life = self.frontend.endpoint.life.clone();
            tokio::spawn(async move {
                let send = async {
                    sleep(late).await;
                    let node = frontend.node;
                    // A node that does not serve would take over only to answer this.
                    let serves = frontend.world.computes[to].process().and_then(|process| process.serving());
                    if serves.is_some() {
                        let _: Served<MetaDone, MetaError> = frontend
                            .world
                            .to_compute(&frontend.endpoint, to, ATTEMPT, move |world, process| {
                                process.meta(world, node, call.clone())
                            })
                            .await;
                    }
                };
                life.run(send).await
            });
        }
    }

    /// Ends the session, if it can be reached.
    pub(crate) async fn close(self) {
        let call = CloseSession { filesystem: self.session.filesystem, session: self.session.session };
        let _ = self.frontend.close(call, ATTEMPT).await;
    }
}

/// Forgets what is recalled, which was never remembered, and takes a place whenever that is asked for.
async fn heed(frontend: Frontend, filesystem: FilesystemId, session: SessionId, place: Weak<Mutex<Term>>) {
    let mut after = 0;
    while let Some(term) = term(&place).filter(|_| !frontend.world.trace.is_violated()) {
        match frontend.recalls(WatchRecalls { filesystem, session, term, after }, ATTEMPT * 2).await {
            Ok(recalls) if recalls.attach => {
                let Some(taken) = attach(&frontend, filesystem, session).await else { return };
                after = 0;
                if let Some(place) = place.upgrade() {
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = taken;
                }
            }
            Ok(recalls) => {
                let acks: Vec<_> =
                    recalls.recalls.iter().map(|recall| Ack { number: recall.number, open: false }).collect();
                let Some(last) = acks.last().map(|ack| ack.number) else { continue };
                // What is not heard is told again.
                if frontend.acknowledge(AckRecalls { filesystem, session, term, acks }, ATTEMPT).await.is_ok()
                {
                    after = last;
                }
            }
            Err(Failure::Refused(_)) => return,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The term of a session that is still used.
fn term(place: &Weak<Mutex<Term>>) -> Option<Term> {
    place.upgrade().map(|place| *place.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps a session alive for as long as it is used.
async fn keep(frontend: Frontend, filesystem: FilesystemId, session: SessionId, place: Weak<Mutex<Term>>) {
    while term(&place).is_some() && !frontend.world.trace.is_violated() {
        if let Err(Failure::Refused(_)) = frontend.renew(RenewSession { filesystem, session }, ATTEMPT).await
        {
            return;
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Takes a place, holding nothing; `None`: the session has ended.
async fn attach(frontend: &Frontend, filesystem: FilesystemId, session: SessionId) -> Option<Term> {
    while !frontend.world.trace.is_violated() {
        match frontend.attach(Attach { filesystem, session, holds: Vec::new() }, ATTEMPT).await {
            Ok(place) => return Some(place.term),
            Err(Failure::Refused(_)) => return None,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
    None
}

/// Makes a call until it is answered; `None`: not within a long time.
async fn persist(
    frontend: &Frontend,
    call: &Meta,
    place: &Mutex<Term>,
) -> Option<Result<MetaReply, MetaError>> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(90) && !frontend.world.trace.is_violated() {
        let term = *place.lock().unwrap_or_else(PoisonError::into_inner);
        match frontend.ask(Meta { term, ..call.clone() }, ATTEMPT).await {
            Ok(done) => return Some(Ok(done.reply)),
            Err(Failure::Refused(MetaError::NotAttached)) => sleep(Duration::from_millis(100)).await,
            Err(Failure::Refused(refusal)) => return Some(Err(refusal)),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
    None
}
