//! A run: actions sent to whoever owns the shard, some at once, and what was heard.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weft_types::{SessionId, SlotId, SlotSeq};
use weft_wire::coherence::Term;
use weft_wire::compute::Meta;
use weft_wire::meta::{Caller, MetaOp};

use crate::cluster::{Cluster, FILESYSTEM};
use crate::process::{Action, Answer, Executed, Process};
use crate::timeline::Event;

/// Actions that are sent before the first of them is answered; operations among them have a slot of their own each.
const AT_ONCE: usize = 3;
/// Between those, so that upkeep and checkpoints come in between.
const PAUSE: Duration = Duration::from_millis(300);
/// The index is copied after so many of those.
const COPY_EVERY: usize = 12;

/// A run.
pub(crate) struct Run {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) actions: Vec<Action>,
    /// How each action was executed last, by its number.
    pub(crate) executed: Vec<Arc<Executed>>,
    /// What was known when the power was cut before.
    pub(crate) before: Option<Box<Moment>>,
    pub(crate) process: Option<Process>,
    /// Actions that wait for their batches.
    waiting: Vec<(usize, u64)>,
    session: SessionId,
    /// Operations of the session so far.
    operations: usize,
    dir: Arc<tempfile::TempDir>,
    settled: usize,
    files: usize,
}

/// A folder in memory where the host has one: an index is made durable again and again.
pub(crate) fn folder() -> Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    Arc::new(folder.expect("a folder"))
}

impl Run {
    /// One in which nothing was sent yet.
    pub(crate) fn new(cluster: Arc<Cluster>, dir: Arc<tempfile::TempDir>) -> Self {
        Self {
            cluster,
            actions: Vec::new(),
            executed: Vec::new(),
            before: None,
            process: None,
            waiting: Vec::new(),
            session: SessionId::from_bytes([0; 16]),
            operations: 0,
            dir,
            settled: 0,
            files: 0,
        }
    }

    fn path(&mut self) -> PathBuf {
        self.files += 1;
        self.dir.path().join(format!("index-{}", self.files))
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it owns the shard")
    }

    /// A process takes over with the index that there is.
    pub(crate) async fn start(&self) -> Process {
        Process::take_over(&self.cluster, &self.index()).await
    }

    /// The first process takes over.
    pub(crate) async fn begin(&mut self) {
        self.process = Some(self.start().await);
        self.act(Action::Format).await;
        self.settle().await;
    }

    /// Another process takes over while the one before goes on; what was not answered is sent again.
    pub(crate) async fn change_owner(&mut self) {
        let before = self.process.take();
        let index = self.path();
        let process = Process::take_over(&self.cluster, &index).await;
        drop(before);
        std::fs::rename(index, self.index()).expect("renamed");
        let rows = process.rows();
        let answered = self.waiting.first().map_or(self.executed.len(), |(number, _)| *number);
        let possible = &self.executed[answered.saturating_sub(1)..];
        let found = possible.iter().rfind(|executed| executed.rows == rows).cloned();
        let found = found.expect("what was answered is there, and nothing is half there");
        self.cluster.timeline.note(Event::TookOver(Arc::clone(&found)));
        self.process = Some(process);
        self.waiting.clear();
        self.executed.truncate(found.number + 1);
        // Those that are there are retries: they get their first answers.
        for number in answered..=found.number {
            if let Action::Meta(call) = &self.actions[number] {
                assert_eq!(Some(self.process().execute(call)), self.executed[number].answer);
            }
            self.waiting.push((number, 0));
        }
        self.send_again(found.number).await;
    }

    /// Sends what came after an action again.
    pub(crate) async fn send_again(&mut self, found: usize) {
        for number in found + 1..self.actions.len() {
            self.perform(number);
        }
        self.settle().await;
    }

    fn perform(&mut self, number: usize) {
        let (executed, durable_with) = self.process().perform(number, &self.actions[number]);
        self.executed.push(executed);
        self.waiting.push((number, durable_with));
    }

    /// Sends an action, and waits for the answers when there are enough to wait for.
    pub(crate) async fn act(&mut self, action: Action) -> Arc<Executed> {
        if self.waiting.len() >= AT_ONCE {
            self.settle().await;
        }
        self.actions.push(action);
        self.perform(self.actions.len() - 1);
        Arc::clone(self.executed.last().expect("executed"))
    }

    /// Opens a session that asks from now on.
    pub(crate) async fn open(&mut self) {
        // An id that never was.
        self.session = SessionId::from_bytes((self.actions.len() as u128).to_be_bytes());
        self.operations = 0;
        self.act(Action::Open(self.session)).await;
    }

    pub(crate) const fn session(&self) -> SessionId {
        self.session
    }

    /// Sends an operation.
    pub(crate) async fn ask(&mut self, op: MetaOp) -> Answer {
        let call = self.call(op);
        self.operations += 1;
        let executed = self.act(Action::Meta(call)).await;
        executed.answer.clone().expect("an operation is answered")
    }

    /// Asks for what changes nothing.
    pub(crate) fn read(&self, op: MetaOp) -> Answer {
        self.process().execute(&self.call(op))
    }

    fn call(&self, op: MetaOp) -> Meta {
        let slot = SlotId::new(u16::try_from(self.operations % AT_ONCE).expect("few"));
        let seq = SlotSeq::new((self.operations / AT_ONCE) as u64 + 1);
        let (filesystem, session) = (FILESYSTEM, self.session);
        Meta { filesystem, session, slot, seq, caller: Caller::default(), op, term: Term::default() }
    }

    /// Waits for the answers to what was sent.
    pub(crate) async fn settle(&mut self) {
        for (number, durable_with) in std::mem::take(&mut self.waiting) {
            self.process().answer(number, durable_with).await;
        }
        self.settled += 1;
        if self.settled.is_multiple_of(COPY_EVERY) {
            let copy = self.path();
            std::fs::copy(self.index(), &copy).expect("copied");
            self.cluster.timeline.note(Event::Index(copy));
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Has all that was begun committed.
    pub(crate) async fn end(&mut self) {
        self.settle().await;
        if let Some(process) = self.process.take() {
            process.close().await;
        }
    }

    /// What a cut at this moment finds.
    pub(crate) fn at(&self, cut: usize) -> Moment {
        let mut moment = self.before.as_deref().cloned().unwrap_or_else(Moment::first);
        moment.actions.clone_from(&self.actions);
        self.cluster.timeline.until(cut).into_iter().for_each(|event| moment.follow(event));
        moment.actions.truncate(moment.known.len());
        moment
    }
}

/// What was known when the power was cut.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// What there may be: what there was after the last action that was answered, or after a later one.
    pub(crate) possible: Vec<Arc<Executed>>,
    /// How each action was executed last.
    pub(crate) known: BTreeMap<usize, Arc<Executed>>,
    pub(crate) row: weft_wire::ownership::ShardRow,
    /// Copies of the index, the oldest first.
    pub(crate) indexes: Vec<PathBuf>,
    /// What was sent.
    pub(crate) actions: Vec<Action>,
}

impl Moment {
    /// Before anything.
    fn first() -> Self {
        Self {
            possible: Vec::new(),
            known: BTreeMap::new(),
            row: crate::cluster::first_row(),
            indexes: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn follow(&mut self, event: Event) {
        match event {
            Event::Called(_) | Event::Io(_) => {}
            Event::Row(row) => self.row = row,
            Event::Executed(executed) => {
                self.known.insert(executed.number, Arc::clone(&executed));
                self.possible.push(executed);
            }
            Event::Answered(number) => self.possible.retain(|executed| executed.number >= number),
            Event::TookOver(found) => self.possible = vec![found],
            Event::Index(path) => self.indexes.push(path),
        }
    }

    /// Operations, each the last of its slot among those up to a number.
    pub(crate) fn last_of_slots(&self, number: usize) -> Vec<(usize, Meta)> {
        let mut last = BTreeMap::new();
        for (at, action) in self.actions.iter().enumerate().take(number + 1) {
            match action {
                Action::Meta(call) => drop(last.insert(call.slot, (at, call.clone()))),
                // One session at a time: with it, its slots end.
                Action::Open(_) | Action::Close(_) | Action::Expire => last.clear(),
                _ => {}
            }
        }
        last.into_values().collect()
    }
}
