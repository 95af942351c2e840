//! Power is lost at any IO of a store that custody runs over: what was answered is there.

use std::sync::Arc;

use weft_device::MemoryDevice;
use weft_device::crash::Recorder;
use weft_wire::grant::CloseSessions;
use weft_wire::log::PutObject;
use weft_wire::store::{OpenStore, PutStore};

use super::*;
use crate::store::Store;
use crate::store::tests::{IDENTITY, device};

const SEEDS: u64 = 5;

/// What was answered, and when by the count of IOs: when the call began and when it was answered.
#[derive(Debug)]
struct Answered {
    began: usize,
    at: usize,
    fact: Fact,
}

#[derive(Debug)]
enum Fact {
    Closed(SessionId),
    Sealed(u64),
    Record(u64, Bytes),
    Object(ObjectKey, Bytes),
    Trimmed(u64),
    Promised(u64),
    Copy(u64, Bytes),
}

struct Served {
    recorder: Arc<Recorder>,
    store: Store<Arc<Recorder>>,
    custody: Custody,
    answered: Vec<Answered>,
}

impl Served {
    fn start(recorder: &Arc<Recorder>) -> Self {
        let store = Store::open(Arc::clone(recorder), IDENTITY).expect("opens");
        Self { recorder: Arc::clone(recorder), store, custody: Custody::new(IDENTITY), answered: Vec::new() }
    }

    fn call<O: Operation>(&mut self, call: O::Call, bulk: &Bytes, fact: Fact) {
        let verifier = AUTHORITY.verifier();
        let by = Caller { node: OWNER, authority: &verifier, drive: IDENTITY };
        let operation = O::prepare(call, bulk.clone(), &by).map_err(drop).expect("well-formed");
        let began = self.recorder.now();
        run(&mut self.custody, &mut self.store, &operation, OWNER).map_err(drop).expect("carried out");
        self.answered.push(Answered { began, at: self.recorder.now(), fact });
    }
}

fn object(number: u64) -> ObjectKey {
    ObjectKey { log: LOG, epoch: Epoch::new(number), number, part: 0 }
}

/// Every kind of call, over and over: an ownership a round.
fn workload(served: &mut Served) {
    for round in 1..=6_u64 {
        let number = u32::try_from(round).expect("small");
        let sessions = vec![session(number)];
        served.call::<Closing>(CloseSessions { sessions }, &Bytes::new(), Fact::Closed(session(number)));
        let grant = signed_by(&AUTHORITY, &Grant::Log(log_grant(round, OWNER)));
        served.call::<Sealing>(SealLog { grant }, &Bytes::new(), Fact::Sealed(round));
        for seq in round * 10..round * 10 + 5 {
            let bulk = Bytes::from(format!("record {seq} ").repeat(200));
            let call = PutLog { log: LOG, epoch: Epoch::new(round), position: at(round, seq) };
            served.call::<Recording>(call, &bulk, Fact::Record(seq, bulk.clone()));
        }
        let bulk = Bytes::from(vec![number.to_le_bytes()[0]; 9000]);
        let call = PutObject { key: object(round) };
        served.call::<Placing>(call, &bulk, Fact::Object(object(round), bulk.clone()));
        let up_to = round * 10 + 2;
        let call = TrimLog { log: LOG, epoch: Epoch::new(round), up_to, void_after: None };
        served.call::<Trimming>(call, &Bytes::new(), Fact::Trimmed(up_to));
        let term = Epoch::new(round);
        let call = OpenStore { term: Some(term) };
        served.call::<Opening>(call, &Bytes::new(), Fact::Promised(round));
        let bulk = Bytes::from(format!("store {round}").repeat(100));
        let call = PutStore { term, version: StoreVersion::new(round << 32) };
        served.call::<Copying>(call, &bulk, Fact::Copy(round << 32, bulk.clone()));
    }
}

/// What is there after a cut, and whether it is all that had been answered.
fn check(medium: MemoryDevice, answered: &[Answered], cut: usize) -> Result<(), String> {
    let store = Store::open(Arc::new(medium), IDENTITY).map_err(|error| error.to_string())?;
    let loaded = Custody::load(IDENTITY, &store).map_err(|error| error.to_string())?;
    let custody = loaded.custody;
    let copies = Custody::store_items().map(|key| store.read(&key).ok());
    let (held, copy) = custody.store_held(copies);
    let (entries, _) = custody.read_log(ReadLog { log: LOG, after: 0, bytes: u32::MAX });
    let records: BTreeMap<_, _> =
        entries.into_iter().map(|(entry, key)| (entry.position.seq, store.read(&key).ok())).collect();
    let trims = || answered.iter().filter(|answered| answered.began <= cut);
    let may_be_trimmed =
        |seq| trims().any(|answered| matches!(answered.fact, Fact::Trimmed(up_to) if seq <= up_to));
    for Answered { fact, .. } in answered.iter().filter(|answered| answered.at <= cut) {
        let kept = match fact {
            Fact::Closed(session) => custody.is_closed(*session),
            Fact::Sealed(epoch) => held.epochs.first().is_some_and(|(_, sealed)| sealed.get() >= *epoch),
            Fact::Record(seq, bytes) => {
                may_be_trimmed(*seq) || records.get(seq).is_some_and(|found| found.as_ref() == Some(bytes))
            }
            Fact::Object(key, bytes) => custody
                .object(GetObject { key: *key })
                .is_some_and(|key| store.read(&key).is_ok_and(|found| found == *bytes)),
            Fact::Trimmed(up_to) => custody.held(LOG).trimmed >= *up_to,
            Fact::Promised(term) => held.promised.get() >= *term,
            Fact::Copy(version, bytes) => {
                let found = held.copy.map_or(0, |(_, version)| version.get());
                held.seen.get() >= *version && (found > *version || found == *version && copy == *bytes)
            }
        };
        if !kept {
            return Err(format!("answered and lost: {fact:?}"));
        }
    }
    Ok(())
}

fn first_loss(recorder: &Recorder, answered: &[Answered]) -> Option<String> {
    (0..=recorder.ios()).find_map(|cut| {
        (0..SEEDS).find_map(|seed| {
            let lost = check(recorder.crash(cut, seed), answered, cut).err()?;
            Some(format!("cut {cut}, seed {seed}: {lost}"))
        })
    })
}

#[test]
fn what_was_answered_outlasts_a_power_cut_at_any_io() {
    let recorder = Arc::new(Recorder::from_bytes(device(16).bytes()));
    let mut served = Served::start(&recorder);
    workload(&mut served);
    assert_eq!(first_loss(&recorder, &served.answered), None);
}

#[test]
fn a_store_that_forgot_its_flushes_is_found_out() {
    let recorder = Arc::new(Recorder::from_bytes(device(16).bytes()));
    recorder.forget_flushes();
    let mut served = Served::start(&recorder);
    workload(&mut served);
    assert!(first_loss(&recorder, &served.answered).is_some());
}
