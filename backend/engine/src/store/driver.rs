//! Puts every version of the cluster store to its voters, and keeps those that lag up.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use weft_types::{Epoch, StoreVersion};
use weft_wire::ownership::DriveHome;
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreRefusal, StoreTaken};

use super::answers::Found;
use super::copy::{STORE_BYTES_MAX, StoreCopy, StoreHeader};
use super::drives::{StoreCallError, StoreContents, StoreDrives};
use super::opening::StoreSettings;
use super::pending::Pending;
use super::quorum::{Change, QuorumStore, Shared};
use super::register::Register;
use super::version::term_of;
use super::voters::Voters;
use super::{CALL_MAX, WriteError};

/// A change that no majority has taken for so long has failed.
const CHANGE_MAX: Duration = Duration::from_secs(8);
/// Changes that wait for their turn.
pub(super) const WAITING_MAX: usize = 256;
/// How often the voters are asked whether another process has opened the store.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Most changes of one version.
const BATCH_MAX: usize = 64;

/// What became of a version.
pub(super) enum Settled {
    /// It counts.
    Durable,
    /// It may count later.
    Failed(WriteError),
    /// Another process has the store.
    Fenced(Epoch),
}

type Put = (DriveHome, Result<StoreTaken, StoreCallError>);
type Look = (DriveHome, Result<StoreHeld, StoreCallError>);

/// The part of an open cluster store that talks to the drives. Nothing is changed while it is not run.
pub struct StoreDriver<D, C> {
    settings: StoreSettings<D>,
    header: StoreHeader,
    shared: Arc<Shared<C>>,
    waiting: mpsc::Receiver<Box<dyn Change<C>>>,
    register: Register,
    newest: (Arc<C>, Bytes),
    puts: Pending<Put>,
    begun: Instant,
    round: Round,
    looks: Pending<Look>,
    started: Instant,
}

/// A round of looking whether this process still has the store.
struct Round {
    asked: Instant,
    answered: BTreeSet<DriveHome>,
    /// Who held the version that counted when the round began.
    held: (StoreVersion, BTreeSet<DriveHome>),
    next: Instant,
}

impl<D: StoreDrives, C: StoreContents> StoreDriver<D, C> {
    /// A store of which this copy was found, and these voters decide.
    pub(super) fn new(settings: StoreSettings<D>, found: Found<C>, voters: Voters) -> (QuorumStore<C>, Self) {
        let Found { header, contents } = found;
        let contents = Arc::new(contents);
        let shared = Arc::new(Shared::new(Arc::clone(&contents), header.version, &voters));
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let store = QuorumStore::new(Arc::clone(&shared), sender);
        let register = Register::new(header.version, voters);
        let now = Instant::now();
        let round = Round {
            asked: now,
            answered: BTreeSet::new(),
            held: (header.version, BTreeSet::new()),
            next: now + LOOK_EVERY,
        };
        let driver = Self {
            settings,
            header,
            shared,
            waiting,
            register,
            newest: (contents, Bytes::new()),
            puts: Pending::new(),
            begun: now,
            round,
            looks: Pending::new(),
            started: now,
        };
        (store, driver)
    }

    pub(super) fn contents(&self) -> Arc<C> {
        Arc::clone(&self.newest.0)
    }

    pub(super) fn into_settings(self) -> StoreSettings<D> {
        self.settings
    }

    /// Begins to put these contents.
    pub(super) fn begin(&mut self, version: StoreVersion, contents: Arc<C>) -> Result<(), WriteError> {
        if !self.register.voters().may_become(contents.voters()) {
            return Err(WriteError::Voters);
        }
        let header = StoreHeader { version, ..self.header.clone() };
        let plain = contents.to_bytes();
        let copy = StoreCopy::seal(header, &self.settings.key, &plain, (self.settings.nonces)()).encode();
        if copy.len() > STORE_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: copy.len() });
        }
        self.register.begin(version, contents.voters().clone());
        self.newest = (contents, copy);
        self.begun = Instant::now();
        Ok(())
    }

    /// Puts the newest version until it counts.
    pub(super) async fn settle(&mut self, patience: Duration) -> Settled {
        let deadline = Instant::now() + patience;
        while self.register.settled() != self.register.newest() {
            match self.step(deadline, false).await {
                Step::Fenced(by) => return Settled::Fenced(by),
                Step::TimedOut => {
                    let error = WriteError::NoMajority { progress: self.register.progress() };
                    self.shared.update(|status| status.fault = Some(error.to_string()));
                    return Settled::Failed(error);
                }
                Step::Done | Step::Change(_) => {}
            }
        }
        Settled::Durable
    }

    /// Makes changes and keeps the voters up, for as long as somebody holds the store.
    ///
    /// # Errors
    /// Another management process has opened the store: nothing may be answered any more.
    pub async fn run(mut self) -> Result<(), Fenced> {
        loop {
            match self.next_change().await {
                Ok(Some(first)) => self.make(first).await?,
                Ok(None) => return Ok(()),
                Err(by) => return Err(self.fenced(by)),
            }
        }
    }

    /// Keeps the voters up until there is something to change.
    async fn next_change(&mut self) -> Result<Option<Box<dyn Change<C>>>, Epoch> {
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            match self.step(far, true).await {
                Step::Fenced(by) => return Err(by),
                Step::Change(change) => return Ok(change),
                Step::Done | Step::TimedOut => {}
            }
        }
    }

    /// Makes a change, and all that wait already, in one version.
    async fn make(&mut self, first: Box<dyn Change<C>>) -> Result<(), Fenced> {
        let mut contents = C::clone(&self.shared.contents());
        let (mut made, mut refused) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(mut change) = next.take() {
            let mut tried = contents.clone();
            if change.apply(&mut tried) {
                contents = tried;
                made.push(change);
            } else {
                refused.push(change);
            }
            next = if made.len() + refused.len() < BATCH_MAX { self.waiting.try_recv().ok() } else { None };
        }
        let settled = if made.is_empty() {
            Settled::Durable
        } else {
            match self.begin(self.register.newest().next(), Arc::new(contents)) {
                Ok(()) => self.settle(CHANGE_MAX).await,
                Err(error) => Settled::Failed(error),
            }
        };
        let error = match settled {
            Settled::Durable => None,
            Settled::Failed(error) => Some(error),
            Settled::Fenced(by) => Some(WriteError::Fenced { by }),
        };
        // What was refused may have been refused because of a change that was not made: it hears of that.
        made.into_iter().chain(refused).for_each(|change| change.finish(error.clone()));
        match error {
            Some(WriteError::Fenced { by }) => Err(self.fenced(by)),
            Some(error) => {
                tracing::error!(
                    error = &error as &dyn core::error::Error,
                    "the cluster store was not changed"
                );
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fenced(&mut self, by: Epoch) -> Fenced {
        self.shared.update(|status| status.fenced = Some(by));
        tracing::error!(%by, "another management process has opened the cluster store");
        Fenced { by }
    }

    /// Waits for the next thing that happens.
    async fn step(&mut self, deadline: Instant, take_changes: bool) -> Step<C> {
        self.send_due();
        self.look_around();
        let due = self.register.next_due().map_or(deadline, |due| self.started + due);
        let wake = deadline.min(due).min(self.round.next);
        tokio::select! {
            biased;
            (home, put) = self.puts.next() => self.heard(home, put),
            (home, look) = self.looks.next() => self.seen(home, look),
            change = self.waiting.recv(), if take_changes => Step::Change(change),
            () = sleep_until(wake) => if wake >= deadline { Step::TimedOut } else { Step::Done },
        }
    }

    /// Asks the voters from time to time whether another process has opened the store, and what they hold.
    fn look_around(&mut self) {
        let now = Instant::now();
        if now < self.round.next {
            return;
        }
        let settled = self.register.settled();
        self.round = Round {
            asked: now,
            answered: BTreeSet::new(),
            held: (settled, self.register.holding(settled)),
            next: now + LOOK_EVERY,
        };
        self.looks = Pending::new();
        for home in self.register.voters().all() {
            let look = self.settings.drives.open(home.drive, OpenStore { term: None });
            self.looks.push(async move {
                let none = || StoreCallError::NoAnswer { reason: "no answer in time".to_owned() };
                let answer = timeout(LOOK_EVERY, look).await.unwrap_or_else(|_| Err(none()));
                (home, answer.map(|(held, _)| held))
            });
        }
    }

    fn seen(&mut self, home: DriveHome, look: Result<StoreHeld, StoreCallError>) -> Step<C> {
        let Ok(held) = look else {
            self.register.lost(home);
            return self.report();
        };
        if held.incarnation != home.incarnation {
            self.register.lost(home);
            return self.report();
        }
        if held.promised > term_of(self.register.newest()) {
            return Step::Fenced(held.promised);
        }
        let (version, holders) = &self.round.held;
        if holders.contains(&home) && held.copy.is_none_or(|(_, copy)| copy < *version) {
            tracing::warn!(drive = %home.drive, "a drive has lost its copy of the cluster store");
            self.register.lost(home);
        }
        self.round.answered.insert(home);
        if self.register.voters().agree(&self.round.answered) {
            self.confirm(self.round.asked);
        }
        self.report()
    }

    /// At this moment nobody else had opened the store: a majority had promised no higher term.
    fn confirm(&self, at: Instant) {
        self.shared.update(|status| status.confirmed = status.confirmed.max(at));
    }

    fn report(&self) -> Step<C> {
        let holding = self.register.holding(self.register.settled());
        let voters = self.register.voters().all();
        self.shared.update(|status| (status.holding, status.voters) = (holding, voters));
        Step::Done
    }

    fn send_due(&mut self) {
        let now = self.started.elapsed();
        for home in self.register.due(now) {
            let version = self.register.newest();
            let call = PutStore { term: term_of(version), version };
            let put = self.settings.drives.put(home.drive, call, self.newest.1.clone());
            self.puts.push(async move {
                let none = || StoreCallError::NoAnswer { reason: "no answer in time".to_owned() };
                (home, timeout(CALL_MAX, put).await.unwrap_or_else(|_| Err(none())))
            });
        }
    }

    fn heard(&mut self, home: DriveHome, put: Result<StoreTaken, StoreCallError>) -> Step<C> {
        let now = self.started.elapsed();
        match put {
            Ok(taken) => {
                if self.register.taken(home, taken.incarnation, now) {
                    self.shared.publish(Arc::clone(&self.newest.0), self.register.settled());
                    self.confirm(self.begun);
                }
            }
            Err(StoreCallError::Refused(StoreRefusal::Fenced { by })) => return Step::Fenced(by),
            Err(error) => self.register.failed(home, now, error.to_string()),
        }
        self.report()
    }
}

enum Step<C> {
    Done,
    TimedOut,
    Fenced(Epoch),
    Change(Option<Box<dyn Change<C>>>),
}

/// Another management process has opened the store; this one must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another management process has opened the cluster store under term {by}; this one stops")]
pub struct Fenced {
    /// Its term.
    pub by: Epoch,
}
