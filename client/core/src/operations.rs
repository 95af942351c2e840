//! The operations, one file per subject.

mod ahead;
mod allocate;
mod attributes;
mod copy;
mod directories;
mod locks;
mod names;
mod open;
mod privileges;
mod reading;
mod seek;
mod unnamed;
mod writing;
mod xattrs;

pub use seek::SeekWhat;

use core::future::Future;
use std::sync::Arc;

use tokio::time::timeout;
use weft_wire::coherence::Stamp;
use weft_wire::compute::MetaDone;
use weft_wire::meta::{Attributes, Caller, MetaError, MetaOp, MetaReply};

use crate::session::OPERATION_MAX;
use crate::{Core, FsError};

impl Core {
    /// Runs a change to its end, whatever becomes of its caller; waits for it as long as is reasonable.
    async fn complete<T, F>(&self, work: F) -> Result<T, FsError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FsError>> + Send + 'static,
    {
        match timeout(OPERATION_MAX, self.runtime.spawn(work)).await {
            Ok(Ok(result)) => result,
            // The runtime is shutting down.
            Ok(Err(_)) => Err(FsError::SessionEnded),
            Err(_) => Err(FsError::TimedOut),
        }
    }

    /// Asks the owner; nothing is changed by it.
    async fn ask(self: &Arc<Self>, op: MetaOp) -> Result<MetaDone, FsError> {
        match timeout(OPERATION_MAX, self.session.meta(Caller::default(), op)).await {
            Ok(answer) => answer,
            Err(_) => Err(FsError::TimedOut),
        }
    }
}

/// What a handle's user is told when the owner knows no such file.
fn of_handle(error: FsError) -> FsError {
    if error == FsError::Refused(MetaError::NotFound) { FsError::Stale } else { error }
}

fn stamped_attributes(done: MetaDone) -> Result<(Stamp, Attributes), FsError> {
    attributes_of(done.reply).map(|attributes| (done.stamp, attributes))
}

fn attributes_of(reply: MetaReply) -> Result<Attributes, FsError> {
    match reply {
        MetaReply::Attributes(attributes) => Ok(attributes),
        _ => Err(FsError::Protocol),
    }
}
