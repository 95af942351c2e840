//! The table against a naive one: a mode for each holder and byte, and a list of those who wait.

use proptest::prelude::*;
use weft_types::{Inode, LOCK_END_MAX, LockKind, LockMode, LockOwner, LockRange, SessionId};

use crate::{Holder, Place, Table, Ticket, Verdict, Want};

const BYTES: usize = 10;
const HOLDERS: usize = 5;
const PLACES: usize = 3;

/// The last byte of the model stands for all that come after it.
fn range(start: usize, end: usize) -> LockRange {
    let end = if end == BYTES - 1 { LOCK_END_MAX } else { end as u64 };
    LockRange::new(start as u64, end).expect("a range")
}

/// Two mounts; an owner's number says nothing in the other one.
fn holder(number: usize) -> Holder {
    let session = SessionId::from_bytes([1 + (number % 2) as u8; 16]);
    Holder { session, owner: LockOwner::new(number as u64 / 2) }
}

/// Two files with ranges, and one of them by `flock` too.
fn place(number: usize) -> Place {
    let kind = if number == 2 { LockKind::Flock } else { LockKind::Posix };
    Place { inode: Inode::new(1 + number as u64 % 2), kind }
}

type Bytes = [Option<LockMode>; BYTES];

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ticket: Ticket,
    place: usize,
    holder: usize,
    bytes: (usize, usize),
    mode: LockMode,
}

#[derive(Default)]
struct Model {
    held: [[Bytes; HOLDERS]; PLACES],
    queue: Vec<Waiting>,
    granted: Vec<Ticket>,
}

impl Model {
    fn in_the_way(
        &self,
        place: usize,
        holder: usize,
        bytes: (usize, usize),
        mode: LockMode,
    ) -> [bool; HOLDERS] {
        core::array::from_fn(|other| {
            other != holder
                && self.held[place][other][bytes.0..=bytes.1]
                    .iter()
                    .any(|held| held.is_some_and(|held| held.excludes(mode)))
        })
    }

    fn is_free(&self, place: usize, holder: usize, bytes: (usize, usize), mode: LockMode) -> bool {
        self.in_the_way(place, holder, bytes, mode) == [false; HOLDERS]
    }

    fn put(&mut self, place: usize, holder: usize, bytes: (usize, usize), mode: Option<LockMode>) {
        self.held[place][holder][bytes.0..=bytes.1].fill(mode);
    }

    /// Whether a path of waits leads from what is in the way back to the holder, by all paths that there are.
    fn closes_a_cycle(&self, place: usize, holder: usize, bytes: (usize, usize), mode: LockMode) -> bool {
        let mut leads = [[false; HOLDERS]; HOLDERS];
        for wait in self.queue.iter().filter(|wait| place_kind(wait.place) == LockKind::Posix) {
            let way = self.in_the_way(wait.place, wait.holder, wait.bytes, wait.mode);
            (0..HOLDERS).for_each(|other| leads[wait.holder][other] |= way[other]);
        }
        for via in 0..HOLDERS {
            for from in 0..HOLDERS {
                for to in 0..HOLDERS {
                    leads[from][to] |= leads[from][via] && leads[via][to];
                }
            }
        }
        let way = self.in_the_way(place, holder, bytes, mode);
        (0..HOLDERS).any(|other| way[other] && leads[other][holder])
    }

    fn serve(&mut self) {
        while let Some(next) =
            self.queue.iter().position(|wait| self.is_free(wait.place, wait.holder, wait.bytes, wait.mode))
        {
            let wait = self.queue.remove(next);
            self.put(wait.place, wait.holder, wait.bytes, Some(wait.mode));
            self.granted.push(wait.ticket);
        }
    }
}

fn place_kind(number: usize) -> LockKind {
    place(number).kind
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Set { place: usize, holder: usize, bytes: (usize, usize), mode: LockMode, wait: bool },
    Unlock { place: usize, holder: usize, bytes: (usize, usize) },
    Release { place: usize, holder: usize },
    Cancel { which: usize },
    End { session: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = (0..BYTES, 0..BYTES).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let mode = prop_oneof![Just(LockMode::Shared), Just(LockMode::Exclusive)];
    let on = (0..PLACES, 0..HOLDERS);
    let set = (on.clone(), bytes.clone(), mode, any::<bool>())
        .prop_map(|((place, holder), bytes, mode, wait)| Step::Set { place, holder, bytes, mode, wait });
    let unlock =
        (on.clone(), bytes).prop_map(|((place, holder), bytes)| Step::Unlock { place, holder, bytes });
    let release = on.prop_map(|(place, holder)| Step::Release { place, holder });
    let cancel = (0..8_usize).prop_map(|which| Step::Cancel { which });
    let end = (0..2_usize).prop_map(|session| Step::End { session });
    proptest::collection::vec(prop_oneof![12 => set, 6 => unlock, 2 => release, 2 => cancel, 1 => end], 1..80)
}

/// What a step covers: `flock` knows only whole files.
fn bytes_at(place: usize, bytes: (usize, usize)) -> (usize, usize) {
    if place_kind(place) == LockKind::Flock { (0, BYTES - 1) } else { bytes }
}

fn run(table: &mut Table, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Set { place: p, holder: h, bytes, mode, wait } => {
            let at = bytes_at(p, bytes);
            let want = Want { range: range(bytes.0, bytes.1), mode, pid: 7 };
            let verdict = table.set(place(p), holder(h), want, wait);
            if place_kind(p) == LockKind::Flock && model.held[p][h][0] != Some(mode) {
                model.put(p, h, at, None);
            }
            if model.is_free(p, h, at, mode) {
                prop_assert_eq!(verdict, Verdict::Granted);
                model.put(p, h, at, Some(mode));
            } else if !wait {
                prop_assert_eq!(verdict, Verdict::WouldBlock);
            } else if place_kind(p) == LockKind::Posix && model.closes_a_cycle(p, h, at, mode) {
                prop_assert_eq!(verdict, Verdict::Deadlock);
            } else {
                let Verdict::Waits(ticket) = verdict else { panic!("{verdict:?}") };
                model.queue.push(Waiting { ticket, place: p, holder: h, bytes: at, mode });
            }
        }
        Step::Unlock { place: p, holder: h, bytes } => {
            table.unlock(place(p), holder(h), range(bytes.0, bytes.1)).expect("there is room");
            model.put(p, h, bytes_at(p, bytes), None);
        }
        Step::Release { place: p, holder: h } => {
            table.release(place(p), holder(h));
            model.put(p, h, (0, BYTES - 1), None);
        }
        Step::Cancel { which } => {
            if let Some(wait) = model.queue.get(which).copied() {
                prop_assert!(table.cancel(wait.ticket));
                prop_assert!(!table.cancel(wait.ticket));
                model.queue.remove(which);
            }
        }
        Step::End { session } => {
            table.release_session(holder(session).session);
            model.queue.retain(|wait| wait.holder % 2 != session);
            for place in 0..PLACES {
                for holder in (0..HOLDERS).filter(|holder| holder % 2 == session) {
                    model.put(place, holder, (0, BYTES - 1), None);
                }
            }
        }
    }
    model.serve();
    Ok(())
}

fn compare(table: &mut Table, model: &mut Model) -> Result<(), TestCaseError> {
    // Those who do not meet are granted in any order.
    let (mut granted, mut expected) = (table.take_granted(), core::mem::take(&mut model.granted));
    granted.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(granted, expected);
    let mut locks = 0;
    for p in 0..PLACES {
        for h in 0..HOLDERS {
            let held: Vec<_> = table.held(place(p), holder(h)).collect();
            locks += held.len();
            for byte in 0..BYTES {
                let at = held.iter().find(|region| region.range.overlaps(range(byte, byte)));
                prop_assert_eq!(
                    at.map(|region| region.mode),
                    model.held[p][h][byte],
                    "byte {} of {} for {}",
                    byte,
                    p,
                    h
                );
            }
            for mode in [LockMode::Shared, LockMode::Exclusive] {
                let found = table.test(place(p), holder(h), range(2, 5), mode);
                let at = bytes_at(p, (2, 5));
                prop_assert_eq!(found.is_none(), model.is_free(p, h, at, mode));
                if let Some((other, region)) = found {
                    prop_assert!(other != holder(h) && region.mode.excludes(mode));
                    prop_assert!(table.held(place(p), other).any(|held| held == region));
                }
            }
        }
    }
    prop_assert_eq!(table.locks(), locks);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_what_a_map_of_bytes_says(steps in steps()) {
        let (mut table, mut model) = (Table::default(), Model::default());
        for step in steps {
            run(&mut table, &mut model, step)?;
            compare(&mut table, &mut model)?;
        }
        for session in 0..2 {
            run(&mut table, &mut model, Step::End { session })?;
        }
        prop_assert!(table.is_forgotten(), "{:?}", table);
    }
}
