//! Two owners race for a log on three drives, and every call may be late, lost or doubled.

use proptest::prelude::*;

use super::*;

const DRIVES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The owner of this ownership seals a drive.
    Seal(u64, usize),
    /// It puts its record of this sequence on a drive.
    Put(u64, u64, usize),
    /// A drive forgets what is in memory.
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (1_u64..5, 0..DRIVES).prop_map(|(epoch, drive)| Event::Seal(epoch, drive)),
        8 => (1_u64..5, 1_u64..6, 0..DRIVES).prop_map(|(epoch, seq, drive)| Event::Put(epoch, seq, drive)),
        1 => (0..DRIVES).prop_map(Event::Restart),
    ];
    prop::collection::vec(event, 1..120)
}

fn owner(epoch: u64) -> NodeId {
    if epoch.is_multiple_of(2) { OWNER } else { OTHER }
}

fn record(epoch: u64, seq: u64) -> Vec<u8> {
    format!("{epoch}.{seq}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn an_owner_that_was_deposed_never_writes_again(events in events()) {
        let mut drives: Vec<_> = (0..DRIVES).map(|_| Drive::new()).collect();
        // By drive, the highest epoch that sealed it; by record, the drives that took it; by epoch, what had been on
        // all drives when its first seal was answered.
        let mut sealed = [0; DRIVES];
        let mut taken = BTreeMap::<(u64, u64), BTreeSet<usize>>::new();
        for event in events {
            match event {
                Event::Seal(epoch, drive) => match drives[drive].seal(epoch, owner(epoch)) {
                    Ok(_) => {
                        prop_assert!(epoch >= sealed[drive]);
                        sealed[drive] = epoch;
                        // One intact drive suffices: what was on all of them is on this one.
                        let on_all = taken.iter().filter(|(_, on)| on.len() == DRIVES).map(|(record, _)| *record);
                        let found: BTreeSet<_> =
                            drives[drive].records().into_iter().map(|(at, _)| (at.epoch.get(), at.seq)).collect();
                        prop_assert!(on_all.into_iter().all(|record| found.contains(&record)));
                    }
                    Err(error) => {
                        prop_assert_eq!(error, deposed(sealed[drive]));
                        prop_assert!(epoch < sealed[drive]);
                    }
                },
                Event::Put(epoch, seq, drive) => {
                    match drives[drive].put(epoch, owner(epoch), seq, &record(epoch, seq)) {
                        Ok(()) => {
                            prop_assert_eq!(epoch, sealed[drive], "only under the highest seal");
                            taken.entry((epoch, seq)).or_default().insert(drive);
                        }
                        Err(LogRefusal::Deposed { by }) => {
                            prop_assert!(epoch < sealed[drive] && by.get() == sealed[drive]);
                        }
                        Err(LogRefusal::NotGranted) => prop_assert!(epoch > sealed[drive]),
                        Err(error) => prop_assert_eq!(error, LogRefusal::Conflict),
                    }
                }
                Event::Restart(drive) => drives[drive].restart(),
            }
        }
        // No two owners' records at one sequence are on all drives.
        for seq in 1..6 {
            let whole = taken.iter().filter(|((_, at), on)| *at == seq && on.len() == DRIVES).count();
            prop_assert!(whole <= 1);
        }
    }
}
