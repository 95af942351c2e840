//! Executing operations.

use std::sync::atomic::Ordering;

use tokio::time::Instant;
use weft_engine::Room;
use weft_leases::WaitId;
use weft_meta::{Context, SpaceView, execute, inherited, is_mutation, session, slot, touched};
use weft_types::{ByteCount, NodeId, SessionId};
use weft_wire::Fault;
use weft_wire::coherence::Stamp;
use weft_wire::compute::{Meta, MetaDone};
use weft_wire::meta::{Attributes, MetaError, MetaOp, MetaReply};

use super::coherence::{Admission, Waits};
use super::{Owner, WORK_KINDS};
use crate::cluster::View;
use crate::keys::Keys;
use crate::rows::{Tx, WRITES_BYTES_MAX};

/// An operation that was executed, or could not be yet.
#[expect(clippy::large_enum_variant, reason = "nearly all are answers, and none is kept")]
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Send the answer when this batch is durable.
    Answer {
        /// The answer.
        answer: Result<MetaReply, MetaError>,
        /// What else it changed.
        touched: Vec<Attributes>,
        /// What it made has extended attributes.
        inherited: bool,
        /// Whether all of it may be remembered.
        stamp: Stamp,
        /// The batch.
        durable_with: u64,
    },
    /// The batch that fills is full; ask again once there is progress.
    Full,
    /// The owner acts on a newer map than the one that was given.
    OlderMap,
    /// Other sessions are to forget something first. Ask again under this number when what they remember has changed, and
    /// have it leave in the end.
    Recalled(WaitId),
}

/// What an operation came to, before it counts.
enum Outcome {
    /// Answer this; the transaction's writes do not count.
    Nothing(Result<MetaReply, MetaError>),
    /// Answer this; the transaction's writes count.
    Written(Result<MetaReply, MetaError>),
    /// Others come first.
    Recalled(WaitId),
}

impl Owner {
    /// Executes an operation and answers it when all that it wrote and saw is durable, within the lease. `view` gives
    /// the cluster as it is known when it is called.
    ///
    /// # Errors
    /// [`Fault::NotServing`] when the owner has failed, or fails before: the same call gets its answer from the next.
    pub async fn meta(
        &self,
        node: NodeId,
        call: &Meta,
        view: impl Fn() -> View,
    ) -> Result<Result<MetaDone, MetaError>, Fault> {
        let mut progress = self.progress();
        let mut coherence = self.coherence_changes.subscribe();
        let mut waits = Waits::new(self);
        loop {
            progress.mark_unchanged();
            coherence.mark_unchanged();
            match self.execute(node, call, &view(), waits.id)? {
                Attempt::Answer { answer, touched, inherited, stamp, durable_with } => {
                    // How much room there is says nothing that must last, and who waits for room must hear that there is
                    // none: a batch may wait for just that.
                    let durable_with = if matches!(call.op, MetaOp::GetSpace) { 0 } else { durable_with };
                    self.answerable(durable_with).await?;
                    self.operations.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer.map(|reply| MetaDone { reply, touched, inherited, stamp }));
                }
                Attempt::Full => progress.changed().await.map_err(|_| Fault::NotServing)?,
                // Whoever made it act on a newer one has that to give.
                Attempt::OlderMap => tokio::task::yield_now().await,
                Attempt::Recalled(id) => {
                    waits.id = Some(id);
                    coherence.changed().await.map_err(|_| Fault::NotServing)?;
                }
            }
        }
    }

    /// Executes an operation; its effects are visible to those that come after it, and not durable yet.
    ///
    /// # Errors
    /// [`Fault::NotServing`]
    pub fn execute(
        &self,
        node: NodeId,
        call: &Meta,
        view: &View,
        waited: Option<WaitId>,
    ) -> Result<Attempt, Fault> {
        let keys = self.keys.as_ref().ok_or(Fault::NotServing)?;
        let mutation = is_mutation(&call.op);
        let room = self.room();
        self.lease.check(Instant::now())?;
        let mut rows = self.committer.rows();
        if self.is_dropping() || !self.is_serving() {
            return Err(Fault::NotServing);
        }
        if mutation && rows.is_full() {
            return Ok(Attempt::Full);
        }
        if view.map.as_ref().is_some_and(|map| map.version.get() < self.acted_on.load(Ordering::Relaxed)) {
            return Ok(Attempt::OlderMap);
        }
        let mut tx = rows.begin();
        let mut stamp = Stamp::default();
        let outcome = match self.admit(&mut tx, node, call, mutation) {
            Err(refusal) => Outcome::Nothing(Err(refusal)),
            Ok(()) if !mutation => self.look_up(&mut tx, keys, call, view, waited, &mut stamp),
            Ok(()) => self.mutate(&mut tx, keys, call, view, (room, waited), &mut stamp),
        };
        let mut answer = match outcome {
            Outcome::Nothing(answer) => {
                tx.discard_writes();
                answer
            }
            Outcome::Written(answer) => answer,
            Outcome::Recalled(id) => return Ok(Attempt::Recalled(id)),
        };
        if let (MetaOp::Lookup { name: Some(_), .. }, Err(MetaError::NotFound)) = (&call.op, &answer) {
            // That is remembered as well.
            answer = Ok(MetaReply::Absent);
        }
        if let Ok(reply) = &mut answer {
            let now = Instant::now().into_std();
            self.leases_table().count_answer(call.session, &call.op, stamp, reply, now);
        }
        let touched = match &answer {
            // What cannot be told is asked for.
            Ok(_) if mutation => {
                touched(&tx, &self.context(keys, call, view, &[]), &call.op).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let inherited = match &answer {
            // What cannot be told may be.
            Ok(reply) => inherited(&tx, &call.op, reply).unwrap_or(true),
            Err(_) => false,
        };
        if tx.has_written(WORK_KINDS) {
            self.work.notify_one();
        }
        let writes = tx.finish();
        Ok(Attempt::Answer { answer, touched, inherited, stamp, durable_with: rows.commit(writes) })
    }

    /// Whether the session is open, the caller's, and may ask for this.
    fn admit(&self, tx: &mut Tx<'_>, node: NodeId, call: &Meta, mutation: bool) -> Result<(), MetaError> {
        let session = session::find(tx, call.session)?.ok_or(MetaError::SessionEnded)?;
        if session.node != node {
            return Err(MetaError::SessionEnded);
        }
        if call.slot.get() >= self.settings.slots {
            return Err(MetaError::SlotOutOfStep);
        }
        session::check(tx, call.session, mutation)
    }

    fn look_up(
        &self,
        tx: &mut Tx<'_>,
        keys: &Keys,
        call: &Meta,
        view: &View,
        waited: Option<WaitId>,
        stamp: &mut Stamp,
    ) -> Outcome {
        let users = match self.admit_needs(tx, &self.context(keys, call, view, &[]), call, waited) {
            Err(refusal) => return Outcome::Nothing(Err(refusal)),
            Ok(Admission::Wait(id)) => return Outcome::Recalled(id),
            Ok(Admission::Go(given, users)) => {
                *stamp = given;
                users
            }
        };
        Outcome::Nothing(execute(tx, &mut self.context(keys, call, view, &users), &call.op))
    }

    fn mutate(
        &self,
        tx: &mut Tx<'_>,
        keys: &Keys,
        call: &Meta,
        view: &View,
        (room, waited): (Room, Option<WaitId>),
        stamp: &mut Stamp,
    ) -> Outcome {
        let Meta { session, slot, seq, op, .. } = call;
        match slot::replay(tx, keys, *session, *slot, *seq) {
            Err(refusal) => return Outcome::Nothing(Err(refusal)),
            Ok(slot::Attempt::Replay(answer)) => return Outcome::Nothing(answer),
            Ok(slot::Attempt::Fresh) => {}
        }
        if room < needed(op) {
            return Outcome::Nothing(Err(MetaError::NoSpace));
        }
        let users = match self.admit_needs(tx, &self.context(keys, call, view, &[]), call, waited) {
            Err(refusal) => return Outcome::Nothing(Err(refusal)),
            Ok(Admission::Wait(id)) => return Outcome::Recalled(id),
            Ok(Admission::Go(given, users)) => {
                *stamp = given;
                users
            }
        };
        let mut answer = execute(tx, &mut self.context(keys, call, view, &users), op);
        if answer.is_ok() && tx.bytes() > WRITES_BYTES_MAX {
            tracing::warn!(bytes = tx.bytes(), "refused an operation that is too large for a batch");
            answer = Err(MetaError::NoSpace);
        }
        if answer.is_err() {
            tx.discard_writes();
        }
        slot::record(tx, *session, *slot, *seq, &answer);
        Outcome::Written(answer)
    }

    fn context<'a>(
        &self,
        keys: &'a Keys,
        call: &Meta,
        view: &'a View,
        users: &'a [SessionId],
    ) -> Context<'a> {
        Context {
            now: self.now(),
            caller: call.caller,
            session: call.session,
            users,
            filesystem: self.filesystem(),
            names: keys,
            keys,
            groups: view,
            space: view.space.unwrap_or(NO_SPACE),
        }
    }
}

/// The room that the log must have: what frees some, or makes durable what is on the drives already, may use the
/// reserve.
const fn needed(op: &MetaOp) -> Room {
    match op {
        MetaOp::Unlink { .. }
        | MetaOp::RemoveDirectory { .. }
        | MetaOp::RemoveXattr { .. }
        | MetaOp::Reap { .. }
        | MetaOp::Commit(_)
        | MetaOp::CommitFiles(_) => Room::Reserve,
        MetaOp::SetAttributes { changes, .. } if changes.size.is_some() => Room::Reserve,
        MetaOp::Allocate(op) if op.mode.clears() => Room::Reserve,
        _ => Room::Ample,
    }
}

/// For operations that do not ask for room.
pub(super) const NO_SPACE: SpaceView = SpaceView { capacity: ByteCount::new(0), free: ByteCount::new(0) };

/// Whether an operation cannot be answered yet, because management was not heard of since this process started. A
/// refusal would be believed: the caller would write everything to the drives anew, or say that they are full.
pub const fn must_wait(op: &MetaOp, view: &View) -> bool {
    match op {
        MetaOp::Commit(_) | MetaOp::CommitFiles(_) | MetaOp::Compact(_) => view.map.is_none(),
        MetaOp::GetSpace => view.space.is_none(),
        _ => false,
    }
}

/// Whether an operation speaks of placement groups that this map does not know, or not as they are now.
pub fn needs_newer_map(op: &MetaOp, view: &View) -> bool {
    let known = |extent: &weft_wire::meta::NewExtent| {
        let group = view.map.as_ref().and_then(|map| map.group(extent.group));
        group.is_some_and(|group| group.epoch >= extent.group_epoch)
    };
    match op {
        MetaOp::Commit(commit) => !commit.extents.iter().all(known),
        MetaOp::CommitFiles(commits) => !commits.iter().flat_map(|commit| &commit.extents).all(known),
        MetaOp::Compact(compact) => !compact.extents.iter().all(known),
        _ => false,
    }
}
