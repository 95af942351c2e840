//! Locks. Core has none yet, and the kernel keeps them for this mount: none of these is sent.

use weft_fusedev::protocol::LockRequest;
use weft_fusedev::{Errno, Reply};

use super::Adapter;

impl Adapter {
    pub(super) fn get_lock(_asked: &LockRequest, reply: Reply) {
        reply.error(Errno::NOSYS);
    }

    /// A wait is to end with any signal: [`Patience::UntilSignal`](weft_fusedev::Patience).
    pub(super) fn set_lock(_asked: &LockRequest, _wait: bool, reply: Reply) {
        reply.error(Errno::NOSYS);
    }
}
