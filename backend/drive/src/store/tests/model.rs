//! Against a map in memory: any sequence of calls, reopened at any time, with power lost at any time.

use super::items::{item_key, value};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put { seq: u64, len: u32, version: u8 },
    Delete { seq: u64 },
    Read { seq: u64, start: u32, len: u32 },
    PutItem { seq: u64, len: u32, version: u8 },
    DeleteItem { seq: u64 },
    Flush,
    Clean { idle: bool },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seq = 0..16_u64;
    let len = prop_oneof![1..5000_u32, 5000..120_000_u32];
    let step = prop_oneof![
        5 => (seq.clone(), len, 0..2_u8).prop_map(|(seq, len, version)| Step::Put { seq, len, version }),
        3 => seq.clone().prop_map(|seq| Step::Delete { seq }),
        2 => (seq, 0..20_000_u32, 0..9000_u32).prop_map(|(seq, start, len)| Step::Read { seq, start, len }),
        4 => (0..8_u64, 0..9000_u32, any::<u8>()).prop_map(|(seq, len, version)| Step::PutItem { seq, len, version }),
        2 => (0..8_u64).prop_map(|seq| Step::DeleteItem { seq }),
        2 => Just(Step::Flush),
        2 => any::<bool>().prop_map(|idle| Step::Clean { idle }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..150)
}

/// What a store holds.
#[derive(Debug, Clone, Default)]
struct Model {
    shards: BTreeMap<u64, (ShardHeader, Bytes)>,
    items: BTreeMap<u64, Bytes>,
}

fn apply(store: &mut Store<TestDevice>, model: &mut Model, step: &Step) {
    match *step {
        Step::Put { seq, len, version } => {
            let new = shard(seq, len, version);
            match (put(store, &new), model.shards.get(&seq)) {
                (Ok(Stored::Appended), None) => {
                    model.shards.insert(seq, new);
                }
                (Ok(Stored::AlreadyThere), Some(there)) => assert_eq!(there, &new),
                (Err(PutError::Conflict { stored }), Some(there)) => {
                    assert_ne!(there, &new);
                    assert_eq!(stored, there.0.digests[0]);
                }
                (Err(PutError::NoSpace), None) => {}
                (answer, there) => panic!("{answer:?} though {there:?}"),
            }
        }
        Step::Delete { seq } => {
            let was_there = store.delete(key(seq)).expect("the headroom suffices");
            assert_eq!(was_there, model.shards.remove(&seq).is_some());
        }
        Step::Read { seq, start, len } => {
            // Readers see what is durable.
            store.flush().expect("flushed");
            let end = start + len;
            match (read(store, seq, start..end), model.shards.get(&seq)) {
                (Ok(bytes), Some((_, there))) => assert_eq!(bytes, there.slice(start as usize..end as usize)),
                (Err(ReadError::Absent), None) => {}
                (Err(ReadError::OutOfRange { .. }), Some((_, there))) => {
                    assert!(len == 0 || end as usize > there.len());
                }
                (answer, there) => panic!("{answer:?} though {there:?}"),
            }
        }
        Step::PutItem { seq, len, version } => {
            let value = value(seq, len, version);
            match store.put_item(&item_key(seq), &value) {
                Ok(()) => drop(model.items.insert(seq, value)),
                Err(PutItemError::NoSpace) => {}
                Err(other) => panic!("{other}"),
            }
        }
        Step::DeleteItem { seq } => {
            let deleted = store.delete_items(&[item_key(seq)]).expect("the headroom suffices");
            assert_eq!(deleted, u32::from(model.items.remove(&seq).is_some()));
        }
        Step::Clean { idle } => drop(store.clean(idle).expect("cleaned")),
        Step::Flush | Step::Reopen => store.flush().expect("flushed"),
    }
}

fn compare(store: &Store<TestDevice>, model: &Model) {
    let reader = store.reader();
    let keys: Vec<_> = model.shards.keys().map(|seq| key(*seq)).collect();
    assert_eq!(reader.list(None, usize::MAX), keys);
    for there in model.shards.values() {
        assert_eq!(&read_all(store, there).expect("stored"), &there.1);
        assert_eq!(reader.describe(there.0.key).expect("stored"), there.0);
    }
    let items = reader.list_items(b"item/", None, usize::MAX);
    assert_eq!(items.len(), model.items.len());
    for ((seq, value), (key, len)) in model.items.iter().zip(items) {
        assert_eq!((&key, len as usize), (&item_key(*seq), value.len()));
        assert_eq!(&reader.read_item(&key).expect("stored"), value);
    }
}

/// Whether all before a step is durable after it.
fn is_flush(step: &Step) -> bool {
    matches!(step, Step::Flush | Step::Reopen | Step::Read { .. } | Step::Clean { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_that_outlasts_its_process(steps in steps(), segments in 8..20_u64) {
        let device = device(segments);
        let mut store = open(&device);
        let mut model = Model::default();
        for step in &steps {
            apply(&mut store, &mut model, step);
            if matches!(step, Step::Reopen) {
                let before = store.reader().usage();
                drop(store);
                store = open(&device);
                let after = store.reader().usage();
                prop_assert_eq!((after.used, after.shards), (before.used, before.shards));
                prop_assert_eq!(after.damage, Default::default());
                compare(&store, &model);
            }
        }
        store.flush().expect("flushed");
        drop(store);
        compare(&open(&device), &model);
    }

    #[test]
    fn what_was_flushed_outlasts_a_loss_of_power(
        steps in steps(),
        kept in prop::collection::vec(any::<bool>(), 1..64),
        more in steps(),
    ) {
        let device = device(12);
        let mut store = open(&device);
        let (mut durable, mut model) = (Model::default(), Model::default());
        for step in &steps {
            apply(&mut store, &mut model, step);
            if is_flush(step) {
                durable = model.clone();
            }
        }
        let mut kept = kept.iter().cycle().copied();
        let left = device.after_power_loss(|| kept.next().unwrap_or_default());
        drop(store);

        let device = Arc::new(MemoryDevice::from_bytes(left));
        let mut store = open(&device);
        let last = steps.iter().rposition(is_flush).map_or(0, |last| last + 1);
        let touched = |seq: u64, item: bool| steps[last..].iter().any(|step| match step {
            Step::Put { seq: s, .. } | Step::Delete { seq: s } => !item && *s == seq,
            Step::PutItem { seq: s, .. } | Step::DeleteItem { seq: s } => item && *s == seq,
            _ => false,
        });
        for seq in (0..16).filter(|seq| !touched(*seq, false)) {
            match durable.shards.get(&seq) {
                Some(was) => prop_assert_eq!(&read_all(&store, was).expect("durable"), &was.1),
                None => prop_assert!(matches!(read(&store, seq, 0..1), Err(ReadError::Absent))),
            }
        }
        for seq in (0..8).filter(|seq| !touched(*seq, true)) {
            match (durable.items.get(&seq), store.reader().read_item(&item_key(seq))) {
                (Some(was), Ok(is)) => prop_assert_eq!(was, &is),
                (None, Err(ReadError::Absent)) => {}
                (was, is) => panic!("{is:?} though {was:?}"),
            }
        }
        // Nor is the store worse for it: what is unfinished can be deleted or put again, and goes on.
        for seq in 0..16 {
            store.delete(key(seq)).expect("deleted");
            store.delete_items(&[item_key(seq)]).expect("deleted");
        }
        store.flush().expect("flushed");
        let mut model = Model::default();
        more.iter().for_each(|step| apply(&mut store, &mut model, step));
        store.flush().expect("flushed");
        drop(store);
        compare(&open(&device), &model);
    }
}
