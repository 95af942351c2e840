//! What follows the end of a session: it is ended at management, then closed at every drive.
//!
//! The end is committed in the shard's log first, and counts. Until every drive has said that it takes nothing of the
//! session any more, a row says that there is something left to do, so that it outlives this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use weft_meta::session;
use weft_types::SessionId;
use weft_wire::Fault;
use weft_wire::grant::CLOSE_MAX;
use weft_wire::meta::MetaError;
use weft_wire::ownership::{DriveHome, Held};

use crate::owner::Owner;

/// Ended sessions that are looked at in one go.
const PAGE: usize = CLOSE_MAX;

/// The calls by which sessions end elsewhere.
pub trait SessionEnds {
    /// Every drive of the map, whatever its state; `None` while no map is known.
    fn homes(&self) -> Option<Vec<DriveHome>>;

    /// Ends a session at management. Answers whether it is ended there, durably.
    fn end(&self, owner: Held, session: SessionId) -> impl Future<Output = bool>;

    /// Closes sessions at drives, all drives at once; answers the drives that have closed all of theirs, durably.
    fn close(&self, at: BTreeMap<DriveHome, Vec<SessionId>>) -> impl Future<Output = BTreeSet<DriveHome>>;
}

/// Why ended sessions are not seen to now.
#[derive(Debug, thiserror::Error)]
pub enum ClosingError {
    /// Rows cannot be read or changed.
    #[error(transparent)]
    Rows(#[from] MetaError),
    /// The owner commits nothing any more.
    #[error("the owner has ended")]
    Owner(#[source] Fault),
}

/// What is known of the sessions that are being closed. All of it can be found out again.
#[derive(Debug, Default)]
pub struct Closing {
    /// Those that management has ended, and which drives have closed them.
    ended: BTreeMap<SessionId, BTreeSet<DriveHome>>,
}

impl Closing {
    /// Does for the sessions that have ended what can be done now. Answers how many of them are left.
    ///
    /// # Errors
    /// [`ClosingError`]
    pub async fn step(&mut self, owner: &Owner, calls: &impl SessionEnds) -> Result<usize, ClosingError> {
        let (sessions, seen) = owner.look(|tx| session::closing(tx, PAGE))?;
        if sessions.is_empty() {
            self.ended.clear();
            return Ok(0);
        }
        // Nobody hears of an end that may not last.
        owner.durable(seen).await.map_err(ClosingError::Owner)?;
        let sessions: Vec<_> = sessions.into_iter().map(|(session, _)| session).collect();
        self.ended.retain(|session, _| sessions.contains(session));
        for session in &sessions {
            if !self.ended.contains_key(session) && calls.end(owner.held(), *session).await {
                self.ended.insert(*session, BTreeSet::new());
            }
        }
        let Some(homes) = calls.homes() else { return Ok(sessions.len()) };
        let asked = self.missing(&homes);
        if !asked.is_empty() {
            let closed = calls.close(asked.clone()).await;
            for (home, sessions) in asked.into_iter().filter(|(home, _)| closed.contains(home)) {
                for session in sessions {
                    self.ended.entry(session).or_default().insert(home);
                }
            }
        }
        let done = self.done(&homes);
        if !done.is_empty() {
            let now = owner.now();
            let ((), seq) = owner.change(|tx| {
                done.iter().try_for_each(|id| session::closed_everywhere(tx, *id, now).map(drop))
            })?;
            owner.durable(seq).await.map_err(ClosingError::Owner)?;
            done.iter().for_each(|session| drop(self.ended.remove(session)));
        }
        Ok(sessions.len() - done.len())
    }

    /// What each drive has not closed yet.
    fn missing(&self, homes: &[DriveHome]) -> BTreeMap<DriveHome, Vec<SessionId>> {
        let mut missing: BTreeMap<DriveHome, Vec<SessionId>> = BTreeMap::new();
        for home in homes {
            let open = self.ended.iter().filter(|(_, closed)| !closed.contains(home));
            let mut sessions: Vec<_> = open.map(|(session, _)| *session).collect();
            sessions.sort_unstable();
            if !sessions.is_empty() {
                missing.insert(*home, sessions);
            }
        }
        missing
    }

    /// Sessions that every drive has closed.
    fn done(&self, homes: &[DriveHome]) -> Vec<SessionId> {
        let closed = |closed: &BTreeSet<DriveHome>| homes.iter().all(|home| closed.contains(home));
        let mut done: Vec<_> =
            self.ended.iter().filter(|(_, by)| closed(by)).map(|(session, _)| *session).collect();
        done.sort_unstable();
        done
    }
}

/// Does so for an owner again and again until it is gone, fails, or is dropped.
pub(crate) async fn close_ended(owner: Weak<Owner>, calls: impl SessionEnds, tick: Duration) {
    let mut closing = Closing::default();
    loop {
        tokio::time::sleep(tick).await;
        let held = owner.upgrade().filter(|owner| owner.is_serving() && !owner.is_dropping());
        let Some(owner) = held else { return };
        if let Err(error) = closing.step(&owner, &calls).await {
            tracing::warn!(error = &error as &dyn std::error::Error, ?owner, "sessions are not closed");
        }
    }
}
