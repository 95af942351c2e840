//! What goes on while nobody asks: the lease, heartbeats, old dirty bytes, unlinked files, compaction.

use core::time::Duration;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep, timeout};
use weft_types::ByteCount;
use weft_wire::management::FrontendReport;
use weft_wire::meta::{Caller, MetaOp, MetaReply, Space};

use crate::session::OPERATION_MAX;
use crate::{Core, FsError, accesses, coherence};

const TICK: Duration = Duration::from_secs(1);
/// Between two looks at what was written some time ago.
const WRITE_BACK_TICK: Duration = Duration::from_millis(500);
/// Between two questions for a map that something waits for.
const MAP_PAUSE: Duration = Duration::from_millis(200);
const CALL: Duration = Duration::from_secs(3);
/// Unlinked files of one call.
const REAP_MAX: usize = 1024;

/// Starts the background tasks; they end with the core, or when there will be no session any more.
pub(crate) fn start(core: &Arc<Core>) {
    let runtime = core.runtime.clone();
    runtime.spawn(renew(Arc::downgrade(core)));
    runtime.spawn(tell(Arc::downgrade(core)));
    runtime.spawn(tidy(Arc::downgrade(core)));
    runtime.spawn(write_back(Arc::downgrade(core)));
    runtime.spawn(ask_for_map(Arc::downgrade(core)));
    if !core.session.is_read_only() {
        runtime.spawn(compact(Arc::downgrade(core)));
        runtime.spawn(tell_accesses(Arc::downgrade(core)));
    }
    runtime.spawn(coherence::attach(Arc::downgrade(core)));
    runtime.spawn(coherence::watch(Arc::downgrade(core)));
    runtime.spawn(coherence::follow(Arc::downgrade(core)));
}

fn living(core: &Weak<Core>) -> Option<Arc<Core>> {
    core.upgrade().filter(|core| !core.session.has_ended())
}

async fn renew(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        let interval = core.session.renewal_interval();
        let last = core.session.remaining();
        if let Some(renewed) = core.session.renew().await {
            core.hear_of_owner(renewed.epoch, renewed.reclaim);
        }
        let renewed = core.session.remaining() > last;
        drop(core);
        // What failed is tried again soon: the lease runs.
        sleep(if renewed { interval } else { interval / 4 }).await;
    }
}

async fn tell(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        if let Ok(heard) = core.backend.heartbeat(core.report(), CALL).await
            && heard.map > core.cluster.view().version()
        {
            core.refresh_map().await;
        }
        drop(core);
        sleep(TICK).await;
    }
}

/// Fetches the map as long as something waits for a newer one.
async fn ask_for_map(core: Weak<Core>) {
    let Some(mut wanted) = core.upgrade().map(|core| core.cluster.wanted()) else { return };
    while wanted.wait_for(|waiting| *waiting > 0).await.is_ok() {
        let Some(core) = living(&core) else { return };
        core.refresh_map().await;
        drop(core);
        sleep(MAP_PAUSE).await;
    }
}

async fn write_back(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        core.kick_old();
        drop(core);
        sleep(WRITE_BACK_TICK).await;
    }
}

async fn tidy(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        core.reap().await;
        if core.memory.dirty.held() > 0 {
            // Without an answer the old figure stands.
            let _ = core.poll_space().await;
        } else {
            core.full.store(false, Ordering::Relaxed);
        }
        drop(core);
        sleep(TICK).await;
    }
}

async fn tell_accesses(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        core.tell_accesses().await;
        drop(core);
        sleep(accesses::TICK).await;
    }
}

async fn compact(core: Weak<Core>) {
    while let Some(core) = living(&core) {
        let rest = core.compact_some().await;
        drop(core);
        sleep(rest).await;
    }
}

impl Core {
    fn report(&self) -> FrontendReport {
        let counts = self.counts();
        let full = self.full.load(Ordering::Relaxed);
        FrontendReport {
            filesystem: self.labels.filesystem.clone(),
            mount: self.labels.holder.mount.clone(),
            reconstructions: counts.reconstructions,
            damaged: counts.damaged,
            unreadable: counts.unreadable,
            dirty: ByteCount::new(counts.dirty_bytes),
            warning: full.then(|| "writes wait for space on the drives".to_owned()),
        }
    }

    /// Fetches the cluster map when there is a newer one. Returns whether there was.
    pub(crate) async fn refresh_map(&self) -> bool {
        let known = self.cluster.view().version();
        let Ok(reply) = self.backend.map(Some(known), CALL).await else { return false };
        let Some(map) = reply.map else { return false };
        if let Err(error) = map.validate() {
            tracing::warn!(%error, "the cluster map cannot be believed");
            return false;
        }
        self.backend.install(&map);
        self.cluster.install(map)
    }

    /// Tells the owner which unlinked files nobody uses any more.
    pub(crate) async fn reap(&self) {
        let inodes = self.references.take_abandoned(REAP_MAX, |inode| self.files.is_pinned(inode));
        if inodes.is_empty() {
            return;
        }
        for inode in &inodes {
            self.names.forget_attributes(*inode);
            self.names.forget_xattrs(*inode);
        }
        // A session that ends reaps by itself.
        let op = MetaOp::Reap { inodes: inodes.clone() };
        if let Err(error) = self.session.meta(Caller::default(), op).await {
            tracing::debug!(%error, "unlinked files were not reaped");
            inodes.into_iter().for_each(|inode| self.references.orphaned(inode));
        }
    }

    /// Asks for the room of the filesystem.
    pub(crate) async fn poll_space(&self) -> Result<Space, FsError> {
        let asked = Instant::now();
        let answer = timeout(OPERATION_MAX, self.session.meta(Caller::default(), MetaOp::GetSpace)).await;
        match answer.map_err(|_| FsError::TimedOut)??.reply {
            MetaReply::Space(space) => {
                self.room.learn(asked, space.free.get(), space.capacity.get());
                Ok(space)
            }
            _ => Err(FsError::Protocol),
        }
    }
}
