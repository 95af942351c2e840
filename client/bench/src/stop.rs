//! The wish to end early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::BenchError;

/// Tells a bench to end. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends it at its next operation; what it made is removed.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails when it is to end.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}
