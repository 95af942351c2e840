//! Power is lost at any IO: what was acknowledged is there, and the store goes on.

use std::collections::BTreeMap;

use weft_device::crash::Recorder;

use super::items::{item_key, value};
use super::*;

const SEGMENTS: u64 = 8;
const SEGMENT_BYTES: u64 = 128 << 10;
const SEEDS: u64 = 5;

/// What became of a key, and up to which IO it was not known whether.
#[derive(Debug, Clone)]
struct Told<V> {
    /// The call that changed it began when so many IOs were done.
    began: usize,
    /// It was acknowledged when so many were; never, when it failed.
    acknowledged: Option<usize>,
    value: Option<V>,
}

/// The history of every key.
#[derive(Debug, Default)]
struct History {
    shards: BTreeMap<u64, Vec<Told<(ShardHeader, Bytes)>>>,
    items: BTreeMap<u64, Vec<Told<Bytes>>>,
    /// Those of the group that is not flushed.
    open_shards: Vec<u64>,
    open_items: Vec<u64>,
}

impl History {
    fn shard(&mut self, seq: u64, began: usize, value: Option<(ShardHeader, Bytes)>) {
        self.shards.entry(seq).or_default().push(Told { began, acknowledged: None, value });
        self.open_shards.push(seq);
    }

    fn item(&mut self, seq: u64, began: usize, value: Option<Bytes>) {
        self.items.entry(seq).or_default().push(Told { began, acknowledged: None, value });
        self.open_items.push(seq);
    }

    fn flushed(&mut self, now: usize) {
        for seq in self.open_shards.drain(..) {
            acknowledge(self.shards.get_mut(&seq), now);
        }
        for seq in self.open_items.drain(..) {
            acknowledge(self.items.get_mut(&seq), now);
        }
    }
}

fn acknowledge<V>(told: Option<&mut Vec<Told<V>>>, now: usize) {
    for told in told.into_iter().flatten() {
        told.acknowledged.get_or_insert(now);
    }
}

/// What a key may be after a cut: the last acknowledged before it, or anything that was begun since.
fn possible<V>(told: &[Told<V>], cut: usize) -> impl Iterator<Item = Option<&V>> {
    let last = told.iter().rposition(|told| told.acknowledged.is_some_and(|at| at <= cut));
    let none_yet = last.is_none().then_some(None);
    let since = told[last.unwrap_or(0)..].iter().filter(move |told| told.began <= cut);
    none_yet.into_iter().chain(since.map(|told| told.value.as_ref()))
}

/// A random source for a workload: splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Puts, replacements, deletions, cleaning, and reuse of segments, on a device that is often nearly full.
fn workload(recorder: &Arc<Recorder>, steps: u64, seed: u64) -> History {
    let mut store = Store::open(recorder.clone(), IDENTITY).expect("opens");
    let (mut history, mut draw) = (History::default(), Draw(seed));
    for step in 0..steps {
        let began = recorder.now();
        match draw.below(12) {
            0..=3 => {
                let len = u32::try_from(100 + draw.below(90_000)).expect("small");
                let new = shard(draw.below(80), len, 1);
                let seq = new.0.key.extent.seq.get();
                if let Ok(Stored::Appended) = store.put(&new.0, new.1.clone()) {
                    history.shard(seq, began, Some(new));
                }
            }
            4..=5 => {
                let seq = draw.below(80);
                if store.delete(key(seq)).expect("the headroom suffices") {
                    history.shard(seq, began, None);
                }
            }
            6..=8 => {
                let (seq, len) = (draw.below(12), u32::try_from(draw.below(9000)).expect("small"));
                let new = value(seq, len, u8::try_from(step % 251).expect("small"));
                if store.put_item(&item_key(seq), &new).is_ok() {
                    history.item(seq, began, Some(new));
                }
            }
            9 => {
                let seq = draw.below(12);
                if store.delete_items(&[item_key(seq)]).expect("the headroom suffices") == 1 {
                    history.item(seq, began, None);
                }
            }
            10 => {
                let idle = draw.below(2) == 0;
                store.clean(idle).expect("cleaned");
                // It begins with a flush of what waits.
                history.flushed(recorder.now());
            }
            _ => {
                store.flush().expect("flushed");
                history.flushed(recorder.now());
            }
        }
    }
    store.flush().expect("flushed");
    history.flushed(recorder.now());
    assert_eq!(store.reader().usage().damage, Default::default());
    let unused = store.ledger.segments().iter().filter(|segment| segment.generation == 0).count();
    assert!(steps < 500 || unused < 2, "but for the one kept for the cleaner all segments were used");
    history
}

/// Opens what a cut left and compares it with what was told.
fn check(device: MemoryDevice, history: &History, cut: usize, seed: u64) {
    let device = Arc::new(device);
    let mut store = open(&device);
    let what = format!("cut {cut}, seed {seed}");
    assert_eq!(store.reader().usage().damage.records, 0, "{what}: nothing is damaged");
    check_shards(&store, history, cut, &what);
    check_items(&store, history, cut, &what);
    // It works on: another put, a deletion, and what it has is there after it was opened again.
    let (new, gone) = (shard(1000, 3000, 1), shard(1001, 100, 1));
    let add = |store: &mut Store<TestDevice>| {
        let added = put(store, &new).is_ok() && put(store, &gone).is_ok();
        added && store.put_item(&item_key(1000), b"new").is_ok()
    };
    let full = !add(&mut store);
    if full {
        for seq in history.shards.keys() {
            store.delete(key(*seq)).unwrap_or_else(|error| panic!("{what}: {error}: {:#?}", store.ledger));
        }
        assert!(add(&mut store), "{what}: there is room");
    }
    store.flush().expect("flushed");
    assert!(store.delete(key(1001)).expect("deleted"));
    store.flush().expect("flushed");
    store.clean(true).expect("cleaned");
    drop(store);
    let store = open(&device);
    let what = format!("{what}, opened again");
    if !full {
        check_shards(&store, history, cut, &what);
    }
    check_items(&store, history, cut, &what);
    assert_eq!(read_all(&store, &new).expect("kept"), new.1);
    assert!(matches!(read_all(&store, &gone), Err(ReadError::Absent)));
    assert_eq!(store.reader().read_item(&item_key(1000)).expect("kept"), b"new"[..]);
}

fn check_shards(store: &Store<TestDevice>, history: &History, cut: usize, what: &str) {
    let reader = store.reader();
    for (seq, told) in &history.shards {
        let found = match reader.describe(key(*seq)) {
            Ok(header) => {
                let len = header.geometry.shard_len(header.key.index);
                Some((
                    header,
                    reader.read(key(*seq), 0..len).unwrap_or_else(|error| panic!("{what}: {error}")),
                ))
            }
            Err(ReadError::Absent) => None,
            Err(error) => panic!("{what}, shard {seq}: {error}"),
        };
        let fits = possible(told, cut).any(|value| value == found.as_ref());
        assert!(fits, "{what}, shard {seq}: is it there? {}", found.is_some());
    }
}

fn check_items(store: &Store<TestDevice>, history: &History, cut: usize, what: &str) {
    let reader = store.reader();
    for (seq, told) in &history.items {
        let found = match reader.read_item(&item_key(*seq)) {
            Ok(value) => Some(value),
            Err(ReadError::Absent) => None,
            Err(error) => panic!("{what}, item {seq}: {error}"),
        };
        let fits = possible(told, cut).any(|value| value == found.as_ref());
        assert!(fits, "{what}, item {seq}: {:?}", found.map(|value| value.len()));
    }
}

fn recorder() -> Arc<Recorder> {
    Arc::new(Recorder::from_bytes(device_of(SEGMENTS, SEGMENT_BYTES).bytes()).with_block(4096))
}

#[test]
fn whatever_io_a_power_cut_comes_at_nothing_that_was_told_is_lost() {
    let recorder = recorder();
    let history = workload(&recorder, 500, 1);
    assert!(recorder.ios() > 400, "{}", recorder.ios());
    for cut in 0..=recorder.ios() {
        for seed in 0..SEEDS {
            check(recorder.crash(cut, seed), &history, cut, seed);
        }
    }
}

#[test]
fn a_second_power_cut_while_the_first_is_recovered_from_loses_nothing_either() {
    let first = recorder();
    let history = workload(&first, 200, 2);
    for cut in (0..=first.ios()).step_by(7) {
        let again = Arc::new(Recorder::from_bytes(first.crash(cut, 4).bytes()).with_block(4096));
        let mut store = Store::open(again.clone(), IDENTITY).expect("opens");
        store.flush().expect("flushed");
        store.clean(true).expect("cleaned");
        drop(store);
        for second in 0..=again.ios() {
            for seed in 0..3 {
                let store = open(&Arc::new(again.crash(second, seed)));
                let what = format!("cut {cut}, then {second}, seed {seed}");
                check_shards(&store, &history, cut, &what);
                check_items(&store, &history, cut, &what);
            }
        }
    }
}

#[test]
fn without_flushes_what_was_told_is_lost() {
    let recorder = recorder();
    recorder.forget_flushes();
    let history = workload(&recorder, 100, 1);
    let lost = std::panic::catch_unwind(|| {
        let cut = recorder.ios();
        check(recorder.crash(cut, 0), &history, cut, 0);
    });
    assert!(lost.is_err(), "or these tests prove nothing");
}
