use proptest::prelude::*;
use weft_wire::store::{OpenStore, PutStore, StoreRefusal};

use super::*;

type Refused<T> = Result<T, StoreRefusal>;

fn open(drive: &mut Drive, term: u64) -> Refused<(StoreHeld, Bytes)> {
    drive.run::<Opening>(OWNER, OpenStore { term: Some(Epoch::new(term)) }, &[])?;
    Ok(held(drive))
}

fn held(drive: &Drive) -> (StoreHeld, Bytes) {
    drive.custody.store_held(Custody::store_items().map(|key| drive.items.read(&key).ok()))
}

fn put(drive: &mut Drive, term: u64, version: u64, bytes: &[u8]) -> Refused<()> {
    let call = PutStore { term: Epoch::new(term), version: StoreVersion::new(version) };
    drive.run::<Copying>(OWNER, call, bytes).map(drop)
}

fn hear(drive: &mut Drive, version: u64) {
    let decision = drive.custody.hear_store(StoreVersion::new(version));
    for step in decision.steps() {
        drive.items.write(step).expect("written");
    }
    drive.custody.apply(decision);
}

fn fenced(by: u64) -> StoreRefusal {
    StoreRefusal::Fenced { by: Epoch::new(by) }
}

fn behind(version: u64) -> StoreRefusal {
    StoreRefusal::Behind { version: StoreVersion::new(version) }
}

#[test]
fn a_term_is_promised_once_and_a_lower_one_takes_nothing() {
    let mut drive = Drive::new();
    let (blank, bytes) = open(&mut drive, 5).expect("promised");
    assert_eq!((blank.promised, blank.copy, bytes.len()), (Epoch::new(5), None, 0));
    assert_eq!(blank.incarnation, DRIVE.incarnation);
    for _ in 0..2 {
        assert_eq!(open(&mut drive, 5), Err(fenced(5)));
        assert_eq!(open(&mut drive, 4), Err(fenced(5)));
        assert_eq!(put(&mut drive, 4, 9, b"late"), Err(fenced(5)));
        drive.restart();
    }
    put(&mut drive, 6, 1, b"taking a copy promises its term").expect("taken");
    drive.restart();
    assert_eq!(open(&mut drive, 6), Err(fenced(6)));
    assert_eq!(put(&mut drive, 5, 2, b"late"), Err(fenced(6)));
}

#[test]
fn a_copy_is_replaced_by_newer_ones_only() {
    let mut drive = Drive::new();
    put(&mut drive, 5, 10, b"ten").expect("taken");
    for _ in 0..2 {
        put(&mut drive, 5, 10, b"ten").expect("the same again");
        assert_eq!(put(&mut drive, 5, 10, b"other"), Err(behind(10)));
        assert_eq!(put(&mut drive, 5, 9, b"nine"), Err(behind(10)));
        assert_eq!(put(&mut drive, 7, 9, b"nine"), Err(behind(10)));
        assert_eq!(put(&mut drive, 7, 10, b"ten"), Err(behind(10)), "another term has other versions");
        assert_eq!(put(&mut drive, 7, 11, b""), Err(StoreRefusal::Malformed));
        let (held, bytes) = held(&drive);
        assert_eq!((held.copy, &bytes[..]), (Some((Epoch::new(5), StoreVersion::new(10))), &b"ten"[..]));
        drive.restart();
    }
    put(&mut drive, 7, 11, b"eleven").expect("taken");
    drive.restart();
    assert_eq!(held(&drive).1, "eleven");
}

#[test]
fn the_highest_version_that_was_seen_is_remembered() {
    let mut drive = Drive::new();
    put(&mut drive, 5, 10, b"ten").expect("taken");
    assert_eq!(held(&drive).0.seen, StoreVersion::new(10));
    hear(&mut drive, 12);
    hear(&mut drive, 11);
    drive.restart();
    assert_eq!(held(&drive).0.seen, StoreVersion::new(12));
    assert_eq!(put(&mut drive, 6, 11, b"restored from an old copy"), Err(behind(12)));
    put(&mut drive, 6, 12, b"late").expect("what it heard of");
    put(&mut drive, 6, 15, b"newer").expect("taken");
    drive.restart();
    assert_eq!(held(&drive).0.seen, StoreVersion::new(15));
}

#[test]
fn a_copy_that_is_damaged_once_is_there_and_a_drive_that_forgot_takes_no_part() {
    let mut drive = Drive::new();
    open(&mut drive, 5).expect("promised");
    put(&mut drive, 5, 10, b"ten").expect("taken");
    let [first, second] = Custody::store_items();
    drive.items.damaged.insert(first.clone());
    assert_eq!(held(&drive).1, "ten");
    drive.restart();
    assert!(drive.items.damaged.is_empty(), "repaired");
    drive.items.damaged.extend([first, second]);
    drive.custody = Custody::load(DRIVE, &drive.items).expect("serves all else").custody;
    assert_eq!(held(&drive).0.copy, None);
    assert_eq!(open(&mut drive, 9), Err(StoreRefusal::Damaged));
    let look = drive.run::<Opening>(OWNER, OpenStore { term: None }, &[]);
    assert_eq!(look.err(), Some(StoreRefusal::Damaged), "nor does it vouch that nobody else has the store");
    assert_eq!(put(&mut drive, 9, 11, b"eleven"), Err(StoreRefusal::Damaged));
    assert!(!drive.custody.remembers_store());
    drive.seal(1, OWNER).expect("all else");
}

/// A manager as the drives see it: it opens under a term of its own, puts what it found as its first version, and then
/// changes.
#[derive(Debug, Clone)]
struct Manager {
    term: u64,
    promises: Vec<usize>,
    newest: Option<(u64, u64, Vec<u8>)>,
    next: Option<(u64, Vec<u8>)>,
    acknowledged: BTreeSet<usize>,
}

const DRIVES: usize = 5;
const MAJORITY: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// This manager opens anew under the next term.
    Open(usize),
    /// The manager's current call reaches the drive, again or for the first time.
    Reach(usize, usize),
    /// The manager's call reaches a drive that fails in the middle.
    Fail(usize, usize, usize, bool),
    /// The drive restarts.
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        1 => (0_usize..2).prop_map(Event::Open),
        12 => (0_usize..2, 0..DRIVES).prop_map(|(manager, drive)| Event::Reach(manager, drive)),
        2 => (0_usize..2, 0..DRIVES, 0_usize..2, any::<bool>())
            .prop_map(|(manager, drive, after, kept)| Event::Fail(manager, drive, after, kept)),
        1 => (0..DRIVES).prop_map(Event::Restart),
    ];
    prop::collection::vec(event, 1..200)
}

/// What a majority acknowledged, by version: and what came before it.
#[derive(Debug, Default)]
struct Chosen(BTreeMap<u64, Vec<u8>>);

impl Manager {
    fn opening(term: u64) -> Self {
        Self { term, promises: Vec::new(), newest: None, next: None, acknowledged: BTreeSet::new() }
    }

    fn reach(&mut self, number: usize, drive: &mut Drive, chosen: &mut Chosen) {
        if self.promises.len() < MAJORITY {
            let Ok((held, bytes)) = open(drive, self.term) else { return };
            self.promises.push(number);
            if let Some((term, version)) = held.copy {
                let found = (term.get(), version.get(), bytes.to_vec());
                self.newest = self.newest.take().max(Some(found));
            }
            if self.promises.len() == MAJORITY {
                let carried = self.newest.take().map(|(_, _, bytes)| bytes).unwrap_or_default();
                self.begin(self.term << 32, carried);
            }
            return;
        }
        let Some((version, bytes)) = self.next.clone() else { return };
        if put(drive, self.term, version, &bytes).is_ok() {
            self.acknowledged.insert(number);
        }
        if self.acknowledged.len() == MAJORITY {
            let other = chosen.0.insert(version, bytes.clone());
            assert!(other.is_none_or(|other| other == bytes), "two stores of one version");
            self.begin(version + 1, bytes);
        }
    }

    /// Every version extends what it follows: so a lost change shows.
    fn begin(&mut self, version: u64, mut bytes: Vec<u8>) {
        bytes.extend(version.to_be_bytes());
        (self.next, self.acknowledged) = (Some((version, bytes)), BTreeSet::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_a_majority_took_is_in_every_later_store(events in events()) {
        let mut drives: Vec<_> = (0..DRIVES).map(|_| Drive::new()).collect();
        let mut managers = [Manager::opening(1), Manager::opening(2)];
        let (mut terms, mut chosen) = (2, Chosen::default());
        for event in events {
            match event {
                Event::Open(manager) => {
                    terms += 1;
                    managers[manager] = Manager::opening(terms);
                }
                Event::Reach(manager, drive) => managers[manager].reach(drive, &mut drives[drive], &mut chosen),
                Event::Fail(manager, drive, after, kept) => {
                    drives[drive].items.failure = Some(Failure { after, kept });
                    managers[manager].reach(drive, &mut drives[drive], &mut chosen);
                    drives[drive].items.failure = None;
                }
                Event::Restart(drive) => drives[drive].restart(),
            }
        }
        let stores: Vec<_> = chosen.0.values().collect();
        for pair in stores.windows(2) {
            prop_assert!(pair[1].starts_with(pair[0]), "a change that counted is lost");
        }
    }
}
