//! A core over any backend.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;
use weft_layout::ClusterMap;
use weft_types::ByteCount;
use weft_wire::compute::{SessionHolder, SessionOpened};

use crate::Core;
use crate::backend::Backend;
use crate::mounted::{Labels, Parts};
use crate::session::Session;

/// An open session and the cluster behind it.
#[derive(Debug)]
pub struct Attachment {
    /// The cluster.
    pub backend: Arc<dyn Backend>,
    /// The session, as it was opened there.
    pub opened: SessionOpened,
    /// When it was asked for: the lease counts from there.
    pub asked: Instant,
    /// The session only reads.
    pub read_only: bool,
    /// The cluster map to begin with, a valid one.
    pub map: ClusterMap,
    /// As [`CoreConfig::memory`](crate::CoreConfig::memory).
    pub memory: ByteCount,
    /// The filesystem's name, for heartbeats.
    pub filesystem: String,
    /// Who mounts: when this session is over, the next one is asked for in its name.
    pub holder: SessionHolder,
    /// Long extents are sealed on threads of the runtime, not on the one that drives it. Without it nothing depends on
    /// how threads happen to run.
    pub sealing_threads: bool,
    /// As [`CoreConfig::access_times`](crate::CoreConfig::access_times).
    pub access_times: bool,
}

impl Core {
    /// Puts a core together; its background work runs on `runtime` until it is unmounted.
    pub fn attach(attachment: Attachment, runtime: Handle) -> Arc<Self> {
        let Attachment { backend, opened, asked, read_only, map, memory, .. } = attachment;
        let session = Session::new(Arc::clone(&backend), &opened, read_only, asked);
        let labels = Labels { filesystem: attachment.filesystem, holder: attachment.holder };
        let Attachment { sealing_threads, access_times, .. } = attachment;
        let parts = Parts { backend, session, map, memory, labels, sealing_threads, access_times };
        Self::start(parts, runtime, None)
    }
}
