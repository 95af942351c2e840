//! Operations, each done exactly once.

use std::sync::Arc;

use tokio::time::sleep;
use weft_types::SessionId;
use weft_wire::compute::{Meta, MetaDone};
use weft_wire::meta::{Caller, MetaError, MetaOp};

use super::{ATTEMPT, Opened, PAUSE_MAX, PAUSE_MIN, Session};
use crate::FsError;
use crate::backend::Failure;

/// Why an operation was not answered by the session that it was asked of.
enum Unanswered {
    /// The session was over before it can have been done: another one may be asked for it.
    NotDone(MetaOp),
    /// The session was over, and nobody knows whether it was done.
    Unknown,
    Failed(FsError),
}

impl Session {
    /// Carries out one operation, exactly once: the same call is made again, in the same slot, until it is answered
    /// or the session is over. What was not done then waits for the next session; of a change that may have been done or not
    /// that is said. Whoever waits for it may give up; a mutation must not be given up.
    pub(crate) async fn meta(&self, caller: Caller, op: MetaOp) -> Result<MetaDone, FsError> {
        let mut op = op;
        loop {
            self.serving().await?;
            let opened = Arc::clone(&self.present.borrow().opened);
            match self.ask(&opened, caller, op).await {
                Ok(done) => return Ok(done),
                Err(Unanswered::NotDone(again)) => op = again,
                Err(Unanswered::Unknown) => return Err(FsError::SessionEnded),
                Err(Unanswered::Failed(error)) => return Err(error),
            }
        }
    }

    /// As [`meta`](Self::meta), of this session only.
    pub(crate) async fn meta_under(
        &self,
        session: SessionId,
        caller: Caller,
        op: MetaOp,
    ) -> Result<MetaDone, FsError> {
        let opened = Arc::clone(&self.present.borrow().opened);
        if opened.id != session || !self.serves(session).await? {
            return Err(FsError::SessionEnded);
        }
        match self.ask(&opened, caller, op).await {
            Ok(done) => Ok(done),
            Err(Unanswered::NotDone(_) | Unanswered::Unknown) => Err(FsError::SessionEnded),
            Err(Unanswered::Failed(error)) => Err(error),
        }
    }

    async fn ask(&self, opened: &Opened, caller: Caller, op: MetaOp) -> Result<MetaDone, Unanswered> {
        let (filesystem, session) = (self.filesystem, opened.id);
        let free = async {
            match op {
                MetaOp::Commit(_) | MetaOp::CommitFiles(_) => opened.slots.take_for_commit().await,
                _ => opened.slots.take().await,
            }
        };
        let slot = tokio::select! {
            biased;
            slot = free => slot,
            () = self.over(session) => return Err(Unanswered::NotDone(op)),
        };
        let term = self.place().term;
        let mut call = Meta { filesystem, session, slot: slot.id(), seq: slot.seq(), caller, op, term };
        let mut pause = PAUSE_MIN;
        // Whether an attempt was made of which nobody knows what became.
        let mut unknown = false;
        loop {
            if self.is_over(session) {
                return Err(unanswered(call.op, unknown));
            }
            let answer = tokio::select! {
                biased;
                answer = self.backend.meta(call.clone(), ATTEMPT) => answer,
                () = self.over(session) => return Err(unanswered(call.op, true)),
            };
            match answer {
                Ok(done) => {
                    // An answer that comes after the lease says what was; a change is made all the same.
                    let holds = self.serves(session).await.map_err(Unanswered::Failed)?;
                    return if holds || !is_question(&call.op) {
                        Ok(done)
                    } else {
                        Err(Unanswered::NotDone(call.op))
                    };
                }
                Err(Failure::Refused(MetaError::SessionEnded)) => {
                    self.end(session);
                    return Err(unanswered(call.op, unknown));
                }
                Err(Failure::Refused(MetaError::NotAttached)) => {
                    self.detach(call.term);
                    if !self.serves(session).await.map_err(Unanswered::Failed)? {
                        return Err(unanswered(call.op, unknown));
                    }
                    call.term = self.place().term;
                }
                Err(Failure::Refused(refusal)) => return Err(Unanswered::Failed(refusal.into())),
                Err(Failure::Broken) => return Err(Unanswered::Failed(FsError::Protocol)),
                Err(failure) => {
                    unknown |= !matches!(failure, Failure::Busy);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// What is to be said of an operation whose session is over. A question may be asked again, whoever has heard it.
fn unanswered(op: MetaOp, unknown: bool) -> Unanswered {
    if unknown && !is_question(&op) { Unanswered::Unknown } else { Unanswered::NotDone(op) }
}

/// Whether an operation changes nothing, however often it is asked for.
const fn is_question(op: &MetaOp) -> bool {
    matches!(
        op,
        MetaOp::GetAttributes { .. }
            | MetaOp::Lookup { .. }
            | MetaOp::ReadLink { .. }
            | MetaOp::ListDirectory(_)
            | MetaOp::GetXattr { .. }
            | MetaOp::ListXattrs { .. }
            | MetaOp::Open { .. }
            | MetaOp::ReadMap(_)
            | MetaOp::Write { .. }
            | MetaOp::OpenWriting { .. }
            | MetaOp::GetSpace
    )
}
