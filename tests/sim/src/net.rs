//! The network, and the lives of the processes on it.
//!
//! A message takes its time, which is another for each, so that messages overtake each other; it may be lost on its way
//! there or back, or arrive twice. Two nodes may be cut off from each other. A process that has ended sends and answers
//! nothing any more.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::dice::Dice;
use crate::world::World;

/// Who speaks and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// A drive.
    Drive(usize),
    /// Management.
    Management,
    /// A compute node.
    Compute(usize),
    /// A client.
    Client(u32),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(n) => write!(f, "d{n}"),
            Self::Management => f.write_str("m"),
            Self::Compute(n) => write!(f, "c{n}"),
            Self::Client(n) => write!(f, "f{n}"),
        }
    }
}

/// The life of a process. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Life(Arc<weft_watch::Sender<bool>>);

impl Life {
    /// One that begins.
    pub(crate) fn begin() -> Self {
        Self(Arc::new(weft_watch::Sender::new(false)))
    }

    /// It ends here: whatever [runs](Self::run) in it goes no step further.
    pub(crate) fn end(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes at its end.
    pub(crate) async fn ended(&self) {
        let _ = self.0.subscribe().wait_for(|over| *over).await;
    }

    /// Runs something in it; `None`: it ended before.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.ended() => None,
            done = work => Some(done),
        }
    }
}

/// A process on the network.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) node: Node,
    /// Its life.
    pub(crate) life: Life,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection broke, or there was none.
    Unreachable,
    /// Time is up.
    TimedOut,
}

/// What is wrong with the network.
#[derive(Debug)]
pub(crate) struct Net {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    cuts: BTreeSet<(Node, Node)>,
    /// Messages out of 1000 that are lost, come twice, or are late; and how late.
    lost: u64,
    twice: u64,
    late: u64,
    late_max: Duration,
    /// Nothing between the servers is lost.
    careful: bool,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
struct Fate {
    there: Duration,
    back: Duration,
    lost: bool,
    unanswered: bool,
    again: Option<Duration>,
    noticed: bool,
}

/// The least time of a message on its way.
const LEAST: Duration = Duration::from_micros(300);

impl Net {
    /// One on which nothing goes wrong.
    pub(crate) fn new(seed: u64) -> Self {
        let cuts = BTreeSet::new();
        let (dice, late_max) = (Dice::new(seed, 1), Duration::from_millis(50));
        let state = State { dice, cuts, lost: 0, twice: 0, late: 0, late_max, careful: false };
        Self { state: Mutex::new(state) }
    }

    /// From now on so many messages out of 1000 are lost, come twice, or are late.
    pub(crate) fn trouble(&self, lost: u64, twice: u64, late: u64, late_max: Duration) {
        let mut state = self.state();
        (state.lost, state.twice, state.late, state.late_max) = (lost, twice, late, late_max);
    }

    /// From now on nothing between servers is lost.
    pub(crate) fn be_careful(&self) {
        self.state().careful = true;
    }

    /// Two nodes hear nothing of each other any more.
    pub(crate) fn cut(&self, a: Node, b: Node) {
        self.state().cuts.insert((a.min(b), a.max(b)));
    }

    /// All hear of each other again.
    pub(crate) fn mend(&self) {
        self.state().cuts.clear();
    }

    fn is_cut(&self, a: Node, b: Node) -> bool {
        self.state().cuts.contains(&(a.min(b), a.max(b)))
    }

    fn fate(&self, from: Node, to: Node) -> Fate {
        let mut state = self.state();
        let State { lost, twice, late, late_max, careful, .. } = *state;
        let servers = !matches!(from, Node::Client(_)) && !matches!(to, Node::Client(_));
        let lost = if careful && servers { 0 } else { lost };
        let late_max = if careful && servers { Duration::from_millis(50) } else { late_max };
        let dice = &mut state.dice;
        let way = |dice: &mut Dice| {
            let most = if dice.per_mille(late) { late_max } else { 4 * LEAST };
            dice.between(LEAST, most.max(LEAST))
        };
        let (there, back) = (way(dice), way(dice));
        let (lost, unanswered) = (dice.per_mille(lost), dice.per_mille(lost));
        let again = dice.per_mille(twice).then(|| way(dice) + way(dice));
        Fate { there, back, lost, unanswered, again, noticed: dice.per_mille(500) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Makes a call. Who serves it answers `None` when it ends meanwhile. The call goes on when nobody waits for its answer
    /// any more.
    ///
    /// # Errors
    /// [`NoAnswer`]: it may have been served, be served yet, or never.
    pub(crate) async fn call<T, S>(
        self: &Arc<Self>,
        from: &Endpoint,
        to: Node,
        deadline: Duration,
        serve: impl Fn(Arc<Self>) -> S + Send + 'static,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        S: Future<Output = Option<T>> + Send + 'static,
    {
        if from.life.is_over() {
            return std::future::pending().await;
        }
        let fate = self.net.fate(from.node, to);
        let (kind, node) = (core::any::type_name::<T>(), from.node);
        self.trace.detail(format_args!("{node} asks {to} for {kind}: {fate:?}"));
        let (world, here) = (Arc::clone(self), from.node);
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            sleep(fate.there).await;
            if fate.lost || world.net.is_cut(here, to) {
                // Whether the sender notices, or waits in vain.
                return if fate.noticed { drop(tell) } else { tell_never(tell).await };
            }
            world.trace.detail(format_args!("{to} serves {here} with {kind}"));
            let answer = serve(Arc::clone(&world)).await;
            world.trace.detail(format_args!("{to} has served {here} with {kind}: {}", answer.is_some()));
            if let Some(again) = fate.again {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    sleep(again).await;
                    world.trace.detail(format_args!("{to} serves {here} again with {kind}"));
                    drop(serve(world).await);
                });
            }
            let Some(answer) = answer else { return };
            sleep(fate.back).await;
            if fate.unanswered || world.net.is_cut(here, to) {
                return if fate.noticed { drop(tell) } else { tell_never(tell).await };
            }
            let _ = tell.send(answer);
        });
        let answer = timeout(deadline, told).await;
        if from.life.is_over() {
            return std::future::pending().await;
        }
        let outcome = answer.as_ref().map(Result::is_ok);
        self.trace.detail(format_args!("{node} hears from {to} of {kind}: {outcome:?}"));
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Unreachable),
            Err(_) => Err(NoAnswer::TimedOut),
        }
    }
}

/// Keeps who waits waiting until it gives up.
async fn tell_never<T>(mut tell: oneshot::Sender<T>) {
    tell.closed().await;
}
