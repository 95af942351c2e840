//! Starting the processes of a container one after the other, and ending them together.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use weft_resources::{ClusterDir, Container, Phase};

use super::claim::Claim;
use super::process::{Event, ProcessError, Started};
use super::{Place, RunError};

/// How long all processes together may take to stop.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(20);

/// Runs all processes of a container until a signal tells it to stop, or until one of them fails.
pub(crate) fn supervise(
    container: Arc<Container>,
    dir: ClusterDir,
    claim: &mut Claim,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let host = |source| RunError::Host { name: container.name.clone(), source };
    runtime.map_err(host)?.block_on(async {
        let (events, received) = unbounded_channel();
        let signals = Signals::new().map_err(host)?;
        let mut crew =
            Crew { container: Arc::clone(&container), dir, signals, started: Vec::new(), received };
        let outcome = match crew.start(events).await {
            Ok(Told::Go) => {
                claim.set(Phase::Running);
                crew.watch().await
            }
            Ok(Told::Stop) => Ok(()),
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            claim.set(Phase::Stopping);
        }
        let stopped = timeout(STOP_MAX, crew.stop()).await;
        let stopped = stopped.unwrap_or_else(|_| Err(RunError::Stuck { name: container.name.clone() }));
        // What went wrong first is what a person needs to know.
        outcome.and(stopped)
    })
}

/// What a container is told while it starts.
enum Told {
    Go,
    Stop,
}

/// The processes of a container.
struct Crew {
    container: Arc<Container>,
    dir: ClusterDir,
    signals: Signals,
    /// Those that were started; none in the place of one that has ended.
    started: Vec<Option<Started>>,
    received: UnboundedReceiver<Event>,
}

impl Crew {
    /// Starts each process once the one before it serves.
    async fn start(&mut self, events: tokio::sync::mpsc::UnboundedSender<Event>) -> Result<Told, RunError> {
        for index in 0..self.container.processes.len() {
            let place = Place { container: Arc::clone(&self.container), dir: self.dir.clone(), index };
            let started = Started::spawn(place, events.clone());
            let host = |source| RunError::Host { name: self.container.name.clone(), source };
            self.started.push(Some(started.map_err(host)?));
            tokio::select! {
                () = self.signals.any() => return Ok(Told::Stop),
                event = self.received.recv() => self.note(event)?,
            }
        }
        Ok(Told::Go)
    }

    /// Waits for the signal to stop; an end of any process before it is an error.
    async fn watch(&mut self) -> Result<(), RunError> {
        loop {
            tokio::select! {
                () = self.signals.any() => return Ok(()),
                event = self.received.recv() => self.note(event)?,
            }
        }
    }

    /// Stops the processes, the last one started first: it may need those before it to finish its work.
    async fn stop(&mut self) -> Result<(), RunError> {
        let mut outcome = Ok(());
        for index in (0..self.started.len()).rev() {
            if let Some(started) = &self.started[index] {
                started.stop();
            }
            while self.started[index].is_some() {
                let event = self.received.recv().await;
                outcome = outcome.and(self.note(event));
            }
        }
        outcome
    }

    /// Notes what a process tells.
    fn note(&mut self, event: Option<Event>) -> Result<(), RunError> {
        let Some(Event::Ended(index, outcome)) = event else { return Ok(()) };
        let Some(started) = self.started[index].take() else { return Ok(()) };
        let role = started.role;
        // It has said its last word: the thread is at its end.
        let joined = started.thread.join().map_err(|_| ProcessError::Ended);
        outcome.and(joined).map_err(|source| RunError::Process {
            name: self.container.name.clone(),
            role,
            source,
        })
    }
}

/// The signals that tell a container to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
