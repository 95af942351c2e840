mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use weft_types::{Incarnation, StoreVersion};

use super::*;
use world::{CLUSTER, Document, LOG, World, home, homes, key};

type Store = QuorumStore<Document>;

/// A management process: its store, and the task that drives it.
struct Process {
    store: Store,
    driving: JoinHandle<Result<(), Fenced>>,
}

impl Process {
    async fn start(world: &World) -> Result<Self, OpenError> {
        let (store, driver) = open_store(world.settings()).await?;
        Ok(Self { store, driving: tokio::spawn(driver.run()) })
    }

    async fn append(&self, what: u32) -> Result<(), ChangeError<()>> {
        append(&self.store, what).await
    }

    fn kill(self) {
        self.driving.abort();
    }
}

async fn append(store: &Store, what: u32) -> Result<(), ChangeError<()>> {
    let change = move |document: &mut Document| {
        document.made.push(what);
        Ok(())
    };
    store.change(change).await
}

async fn never<T>(future: impl Future<Output = T>) {
    assert!(timeout(Duration::from_secs(120), future).await.is_err(), "it should wait");
}

/// Runs a test in simulated time.
fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(test)
}

#[test]
fn two_of_five_voters_may_be_lost_and_three_may_not() {
    simulate(async {
        let world = World::new(6, &[0, 1, 2, 3, 4], 1);
        world.up(&[1, 3, 4]);
        let process = Process::start(&world).await.expect("three of five");
        process.append(7).await.expect("three of five");
        world.up(&[3, 4, 5]);
        let Err(ChangeError::Write(WriteError::NoMajority { progress })) = process.append(8).await else {
            panic!("two of five");
        };
        assert!(progress.contains("2 of 5 voting drives") && progress.contains("down"), "{progress}");
        assert_eq!(process.store.contents().made, [7], "what is known is read on");
        assert!(process.store.status().fault.is_some());
        never(Process::start(&world)).await;
        world.up(&[0, 1, 3, 4]);
        process.append(9).await.expect("four of five");
        assert_eq!(process.store.status().fault, None);
        process.kill();
        world.up(&[0, 1, 2]);
        let process = Process::start(&world).await.expect("others");
        assert_eq!(process.store.contents().made, [7, 9], "one that was given up is replaced by the next");
    });
}

#[test]
fn drives_that_lag_and_drives_that_lose_their_copy_are_brought_up() {
    simulate(async {
        let world = World::new(5, &[0, 1, 2, 3, 4], 2);
        world.up(&[0, 1, 2]);
        let process = Process::start(&world).await.expect("opens");
        process.append(1).await.expect("made");
        let version = process.store.status().version;
        let holders = || {
            let drives = world.drives().into_values();
            drives.filter(|drive| drive.copy.as_ref().is_some_and(|copy| copy.1 == version)).count()
        };
        assert_eq!(holders(), 3);
        world.up(&[0, 1, 2, 3, 4]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!((holders(), process.store.status().holding.len()), (5, 5));
        world.drive(2, |drive| drive.copy = None);
        sleep(Duration::from_secs(8)).await;
        assert_eq!(holders(), 5);
        world.up(&[0, 1, 2, 3]);
        sleep(Duration::from_secs(8)).await;
        assert_eq!(process.store.status().holding.len(), 4, "one that is not reached is not counted on");
    });
}

#[test]
fn a_later_process_stops_the_earlier_one() {
    simulate(async {
        let world = World::new(3, &[0, 1, 2], 3);
        let first = Process::start(&world).await.expect("opens");
        first.append(1).await.expect("made");
        let second = Process::start(&world).await.expect("opens");
        assert!(matches!(first.append(2).await, Err(ChangeError::Write(WriteError::Fenced { .. }))));
        assert!(matches!(first.append(3).await, Err(ChangeError::Write(WriteError::Fenced { .. }))));
        assert!(first.store.status().fenced.is_some());
        assert!(first.driving.await.expect("ends").is_err());
        second.append(4).await.expect("made");
        assert_eq!(second.store.contents().made, [1, 4]);
    });
}

#[test]
fn a_process_with_nothing_to_change_notices_too_that_another_has_the_store() {
    simulate(async {
        let world = World::new(3, &[0, 1, 2], 4);
        let first = Process::start(&world).await.expect("opens");
        sleep(Duration::from_secs(10)).await;
        let before = first.store.status().confirmed;
        assert!(before.elapsed() < Duration::from_secs(3), "it keeps looking");
        world.up(&[0]);
        sleep(Duration::from_secs(10)).await;
        assert!(
            first.store.status().confirmed.elapsed() > Duration::from_secs(8),
            "nothing is certain any more"
        );
        world.up(&[0, 1, 2]);
        let second = Process::start(&world).await.expect("opens");
        let ended = timeout(Duration::from_secs(5), first.driving).await.expect("soon").expect("ends");
        assert_eq!(ended, Err(Fenced { by: term_of(second.store.status().version) }));
    });
}

#[test]
fn copies_that_were_brought_back_serve_nothing() {
    simulate(async {
        let world = World::new(5, &[0, 1, 2, 3, 4], 5);
        let process = Process::start(&world).await.expect("opens");
        process.append(1).await.expect("made");
        sleep(Duration::from_secs(1)).await;
        let old = world.drives();
        process.append(2).await.expect("made");
        sleep(Duration::from_secs(1)).await;
        process.kill();
        let newest = world.drives();
        let bring_back = |list: &[u8]| {
            for n in list {
                let copy = old[&world::id(*n)].copy.clone();
                world.drive(*n, |drive| drive.copy = copy);
            }
        };
        bring_back(&[0, 1, 2, 3]);
        let process = Process::start(&world).await.expect("one newer copy is enough");
        assert_eq!(process.store.contents().made, [1, 2]);
        process.kill();
        for (drive, state) in newest {
            world.drive(drive.to_bytes()[0], |drive| *drive = state);
        }
        bring_back(&[0, 1, 2, 3, 4]);
        let error = Process::start(&world).await.err().expect("old copies");
        assert!(matches!(error, OpenError::Behind(Behind::Version { .. })), "{error:?}");
        for n in 0..5 {
            world.drive(n, |drive| drive.seen = StoreVersion::default());
        }
        world.drive(3, |drive| drive.ownership = Epoch::new(2));
        let error = Process::start(&world).await.err().expect("an old ownership");
        assert!(matches!(error, OpenError::Behind(Behind::Ownership { log: LOG, .. })), "{error:?}");
    });
}

#[test]
fn a_drive_that_was_blank_does_not_vote() {
    simulate(async {
        let world = World::new(5, &[0, 1, 2, 3, 4], 6);
        world.up(&[0, 1, 2]);
        world.drive(0, |drive| drive.incarnation = Incarnation::new(2));
        never(Process::start(&world)).await;
        world.up(&[0, 1, 2, 3]);
        let process = Process::start(&world).await.expect("three that remember");
        process.append(1).await.expect("made");
        world.drive(1, |drive| drive.incarnation = Incarnation::new(2));
        assert!(process.append(2).await.is_err(), "it was made blank while the store was open");
    });
}

#[test]
fn with_the_loss_accepted_a_minority_goes_on() {
    simulate(async {
        let world = World::new(5, &[0, 1, 2, 3, 4], 7);
        let process = Process::start(&world).await.expect("opens");
        process.append(1).await.expect("made");
        sleep(Duration::from_secs(1)).await;
        process.kill();
        world.drive(3, |drive| drive.ownership = Epoch::new(6));
        world.up(&[2, 3]);
        let change = |document: &mut Document, remembered: &Remembered<'_>| {
            assert_eq!(remembered.drives, &homes(&[2, 3]).into_iter().collect());
            document.voters = Voters::of(remembered.drives.iter().copied().collect());
            document.ownership = remembered.epochs[&LOG].next();
        };
        let (store, _) = recover_store::<_, Document>(world.settings(), change).await.expect("recovers");
        assert_eq!((store.contents().made.as_slice(), store.contents().ownership), (&[1][..], Epoch::new(7)));
        let process = Process::start(&world).await.expect("both vote");
        process.append(2).await.expect("made");
        world.up(&[]);
        let nobody = recover_store::<_, Document>(world.settings(), change).await;
        assert!(matches!(nobody.err(), Some(OpenError::NoCopy)));
    });
}

#[test]
fn those_that_were_left_out_and_had_gone_on_are_overtaken() {
    simulate(async {
        let world = World::new(6, &[0, 1, 2, 3, 4], 9);
        let process = Process::start(&world).await.expect("opens");
        process.append(1).await.expect("made");
        sleep(Duration::from_secs(1)).await;
        process.kill();
        // A majority goes on through several terms without two of the voters, and is lost then.
        world.up(&[2, 3, 4]);
        for what in 2..6 {
            let process = Process::start(&world).await.expect("opens");
            process.append(what).await.expect("made");
            process.kill();
        }
        world.up(&[0, 1, 5]);
        let change = |document: &mut Document, remembered: &Remembered<'_>| {
            document.voters = Voters::of(remembered.drives.iter().copied().collect());
        };
        drop(recover_store::<_, Document>(world.settings(), change).await.expect("recovers"));
        world.up(&[0, 1, 2, 3, 4, 5]);
        let process = Process::start(&world).await.expect("opens");
        assert_eq!(process.store.contents().made, [1], "what was lost is not half there");
        assert_eq!(process.store.contents().voters, Voters::of(homes(&[0, 1, 5])));
    });
}

#[test]
fn voters_change_through_both_sets_alone() {
    simulate(async {
        let world = World::new(6, &[0, 1, 2], 8);
        let process = Process::start(&world).await.expect("opens");
        let to = |voters: Voters| {
            process.store.change(move |document: &mut Document| {
                document.voters = voters;
                Ok::<_, ()>(())
            })
        };
        let (a, b) = (homes(&[0, 1, 2]), homes(&[3, 4, 5]));
        let at_once = to(Voters::of(b.clone())).await;
        assert!(matches!(at_once, Err(ChangeError::Write(WriteError::Voters))));
        to(Voters { current: a, next: Some(b.clone()) }).await.expect("both");
        world.up(&[0, 1, 2, 3]);
        assert!(process.append(1).await.is_err(), "one of the new set is not enough");
        world.up(&[0, 1, 2, 3, 4]);
        process.append(2).await.expect("a majority of each");
        to(Voters::of(b)).await.expect("the new ones alone");
        world.up(&[3, 4]);
        process.append(3).await.expect("two of the new three");
        process.kill();
        let process = Process::start(&world).await.expect("opens");
        assert_eq!(process.store.contents().made, [2, 3]);
        process.kill();
        world.up(&[0, 1, 2, 3]);
        never(Process::start(&world)).await;
    });
}

#[test]
fn changes_at_the_same_time_share_a_version_and_a_refused_one_leaves_no_trace() {
    simulate(async {
        let world = World::new(3, &[0, 1, 2], 9);
        let process = Process::start(&world).await.expect("opens");
        let before = process.store.status().version;
        let refused = process.store.change(|document: &mut Document| {
            document.made.push(99);
            Err::<(), _>("no")
        });
        let (a, b, refused, c) =
            tokio::join!(process.append(1), process.append(2), refused, process.append(3));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert!(matches!(refused, Err(ChangeError::Refused("no"))));
        assert_eq!(process.store.contents().made, [1, 2, 3]);
        assert!(process.store.status().version.get() - before.get() <= 2);
        let dropped = process.append(4);
        drop(timeout(Duration::from_micros(1), dropped).await);
        process.append(5).await.expect("made");
        assert_eq!(process.store.contents().made, [1, 2, 3, 4, 5], "a change that was begun is finished");
    });
}

#[test]
fn contents_over_the_bound_are_refused_and_the_store_goes_on() {
    simulate(async {
        let world = World::new(3, &[0, 1, 2], 10);
        let process = Process::start(&world).await.expect("opens");
        let huge = process.store.change(|document: &mut Document| {
            document.made = vec![u32::MAX; 1 << 20];
            Ok::<_, ()>(())
        });
        assert!(matches!(huge.await, Err(ChangeError::Write(WriteError::TooLarge { .. }))));
        process.append(1).await.expect("made");
        assert_eq!(process.store.contents().made, [1]);
    });
}

#[test]
fn the_header_comes_from_the_newest_whole_copy() {
    simulate(async {
        let world = World::new(4, &[0, 1, 2], 11);
        let places: Vec<_> = world.drives().into_keys().collect();
        world.up(&[3]);
        never(store_headers(&world, &places)).await;
        world.up(&[0, 1, 3]);
        world.drive(0, |drive| {
            drive.copy = drive.copy.take().map(|(term, version, bytes)| (term, version, bytes.slice(..20)));
        });
        let headers = store_headers(&world, &places).await.expect("whole");
        assert_eq!(headers.iter().map(|header| header.cluster).collect::<Vec<_>>(), [CLUSTER]);
        let process = Process::start(&world).await;
        assert!(process.is_ok(), "a damaged copy is not used, and its drive still votes");
    });
}

#[test]
fn a_store_that_is_damaged_on_too_many_drives_is_an_error_and_no_wait() {
    simulate(async {
        let world = World::new(6, &[0, 1, 2, 3, 4], 7);
        let places: Vec<_> = (0..6).map(world::id).collect();
        for n in [0, 1] {
            world.drive(n, |drive| drive.damaged = true);
        }
        Process::start(&world).await.expect("three of five remember").kill();
        world.up(&[0, 1, 2, 3]);
        never(Process::start(&world)).await;
        world.up(&[0, 1, 2, 3, 4, 5]);
        world.drive(2, |drive| drive.damaged = true);
        let Err(OpenError::Damaged(damaged)) = Process::start(&world).await else {
            panic!("two of five remember")
        };
        assert_eq!((damaged.damaged, damaged.holders), (3, 5));
        assert!(store_headers(&world, &places).await.is_ok(), "two have whole copies");
        for n in [3, 4] {
            world.drive(n, |drive| drive.damaged = true);
        }
        assert_eq!(store_headers(&world, &places).await.err().map(|damaged| damaged.damaged), Some(5));
        world.up(&[0, 1, 2, 3, 5]);
        never(store_headers(&world, &places)).await;
    });
}

/// Processes come and go, drives die and come back, messages are lost, late, doubled.
async fn history(seed: u64) -> (World, BTreeSet<u32>, BTreeMap<StoreVersion, Vec<u32>>) {
    let world = World::new(6, &[0, 1, 2, 3, 4], seed);
    world.set_faults(150);
    let (mut acknowledged, mut known) = (BTreeSet::new(), BTreeMap::new());
    let mut processes: Vec<Process> = Vec::new();
    for step in 0..60_u32 {
        match world.random(10) {
            0 if processes.len() < 3 => {
                let started = timeout(Duration::from_secs(20), Process::start(&world)).await;
                processes.extend(started.ok().and_then(Result::ok));
            }
            1 if !processes.is_empty() => {
                let at = usize::try_from(world.random(processes.len() as u64)).expect("small");
                processes.swap_remove(at).kill();
            }
            2 => {
                let (a, b) = (world.random(6), world.random(6));
                let up = (0..6_u8).filter(|n| u64::from(*n) != a && u64::from(*n) != b);
                world.up(&up.collect::<Vec<_>>());
            }
            _ => {
                for (at, process) in processes.iter().enumerate() {
                    let what = step * 8 + u32::try_from(at).expect("small");
                    let patience = Duration::from_millis(world.random(12_000));
                    if matches!(timeout(patience, process.append(what)).await, Ok(Ok(()))) {
                        acknowledged.insert(what);
                        let (version, made) = (process.store.status().version, process.store.contents());
                        known.insert(version, made.made.clone());
                    }
                }
            }
        }
    }
    processes.into_iter().for_each(Process::kill);
    (world, acknowledged, known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_acknowledged_is_there_whoever_opens_the_store_later(seed: u64) {
        simulate(async move {
            let (world, acknowledged, known) = history(seed).await;
            world.set_faults(0);
            world.up(&[0, 1, 2, 3, 4, 5]);
            let process = Process::start(&world).await.expect("it heals when faults stop");
            let made = process.store.contents().made.clone();
            for what in &acknowledged {
                prop_assert!(made.contains(what), "{what} is lost: {made:?}");
            }
            let distinct: BTreeSet<_> = made.iter().collect();
            prop_assert_eq!(distinct.len(), made.len(), "nothing is made twice");
            for earlier in known.values() {
                prop_assert!(made.starts_with(earlier), "{earlier:?} was read, and became {made:?}");
            }
            prop_assert!(process.append(u32::MAX).await.is_ok());
            Ok(())
        })?;
    }
}

#[test]
fn a_store_of_another_cluster_is_none() {
    simulate(async {
        let world = World::new(3, &[0, 1, 2], 12);
        let mut settings = world.settings();
        settings.cluster = weft_types::ClusterId::from_bytes([9; 16]);
        never(open_store::<_, Document>(settings)).await;
        let mut settings = world.settings();
        settings.key = weft_keys::ClusterKey::from_bytes(&[9; 32]);
        never(open_store::<_, Document>(settings)).await;
        assert_eq!((home(0).drive, key().expose()), (world::id(0), &[2; 32]));
    });
}
