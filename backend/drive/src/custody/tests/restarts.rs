//! A device that fails at any write, with the writes of the same step there or not, and a drive that restarts.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Seal(u64),
    Put { epoch: u64, seq: u64, version: u8 },
    Trim { epoch: u64, up_to: u64, void_after: Option<u64> },
    Restart,
}

fn events() -> impl Strategy<Value = Vec<(Event, Option<Failure>)>> {
    let void = prop::option::weighted(0.3, 0_u64..8);
    let event = prop_oneof![
        2 => (1_u64..6).prop_map(Event::Seal),
        8 => (1_u64..6, 1_u64..12, 0_u8..2).prop_map(|(epoch, seq, version)| Event::Put { epoch, seq, version }),
        2 => (1_u64..6, 0_u64..8, void).prop_map(|(epoch, up_to, void_after)| Event::Trim { epoch, up_to, void_after }),
        2 => Just(Event::Restart),
    ];
    let failure = prop::option::weighted(0.3, (0_usize..3, any::<bool>()))
        .prop_map(|failure| failure.map(|(after, kept)| Failure { after, kept }));
    prop::collection::vec((event, failure), 1..80)
}

/// What a drive may and must have.
#[derive(Debug, Default)]
struct Expected {
    sealed: u64,
    /// The highest epoch that a failed seal may have left.
    sealed_at_most: u64,
    trimmed: u64,
    trimmed_at_most: u64,
    /// What was answered as put, and neither trimmed nor perhaps trimmed since.
    records: BTreeMap<u64, (u64, Vec<u8>)>,
    /// What may be there.
    tried: BTreeSet<(u64, u64, Vec<u8>)>,
}

fn bytes(epoch: u64, seq: u64, version: u8) -> Vec<u8> {
    format!("{epoch}.{seq}.{version}").into_bytes()
}

impl Expected {
    fn check(&self, drive: &mut Drive) -> Result<(), TestCaseError> {
        let (store, _) = drive.custody.store_held([None, None]);
        let sealed = store.epochs.first().map_or(0, |(_, epoch)| epoch.get());
        prop_assert!((self.sealed..=self.sealed_at_most).contains(&sealed), "{sealed}: {self:?}");
        let trimmed = drive.custody.held(LOG).trimmed;
        prop_assert!((self.trimmed..=self.trimmed_at_most).contains(&trimmed), "{trimmed}: {self:?}");
        let there: BTreeMap<_, _> = drive
            .records()
            .into_iter()
            .map(|(at, bytes)| (at.seq, (at.epoch.get(), bytes.expect("sound").to_vec())))
            .collect();
        for (seq, (epoch, bytes)) in &there {
            prop_assert!(*seq > trimmed);
            prop_assert!(self.tried.contains(&(*epoch, *seq, bytes.clone())), "never put");
        }
        for (seq, record) in &self.records {
            prop_assert_eq!(there.get(seq), Some(record), "answered and not there");
        }
        Ok(())
    }

    fn trim(&mut self, epoch: u64, up_to: u64, void_after: Option<u64>) {
        let goes = |seq, of| seq <= up_to || void_after.is_some_and(|after| seq > after && of < epoch);
        self.records.retain(|seq, (of, _)| !goes(*seq, *of));
        self.trimmed_at_most = self.trimmed_at_most.max(up_to);
    }

    fn step(&mut self, drive: &mut Drive, event: Event) {
        match event {
            Event::Seal(epoch) => {
                let tries = epoch > self.sealed;
                match drive.seal(epoch, OWNER) {
                    Ok(_) => self.sealed = epoch,
                    Err(_) if tries => {}
                    Err(_) => return,
                }
                self.sealed_at_most = self.sealed_at_most.max(epoch);
            }
            Event::Put { epoch, seq, version } => {
                let bytes = bytes(epoch, seq, version);
                match drive.put(epoch, OWNER, seq, &bytes) {
                    Ok(()) => {
                        self.tried.insert((epoch, seq, bytes.clone()));
                        self.records.insert(seq, (epoch, bytes));
                    }
                    Err(LogRefusal::Device) => {
                        self.tried.insert((epoch, seq, bytes));
                    }
                    Err(_) => {}
                }
            }
            Event::Trim { epoch, up_to, void_after } => match drive.trim(epoch, up_to, void_after) {
                Ok(()) => {
                    self.trim(epoch, up_to, void_after);
                    self.trimmed = self.trimmed.max(up_to);
                }
                Err(LogRefusal::Device) => self.trim(epoch, up_to, void_after),
                Err(_) => {}
            },
            Event::Restart => {
                drive.restart();
                let (store, _) = drive.custody.store_held([None, None]);
                // What a failed call left is known from now on.
                self.sealed = store.epochs.first().map_or(0, |(_, epoch)| epoch.get());
                self.trimmed = drive.custody.held(LOG).trimmed;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn what_was_answered_is_there_after_a_failure_and_a_restart_at_any_write(events in events()) {
        let (mut drive, mut expected) = (Drive::new(), Expected::default());
        for (event, failure) in events {
            let restarts = matches!(event, Event::Restart);
            drive.items.failure = failure;
            expected.step(&mut drive, event);
            if restarts {
                expected.check(&mut drive)?;
            }
        }
        drive.restart();
        expected.check(&mut drive)?;
    }
}
