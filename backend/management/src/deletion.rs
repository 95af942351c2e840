//! Deleting a filesystem: marked first, dropped by compute, and forgotten when nothing of it is left.

use core::time::Duration;
use std::time::Instant;

use weft_pki::NodeIdentity;
use weft_transport::{Bulk, CallError, Peer};
use weft_types::{FilesystemId, Role};
use weft_wire::compute::{DropFilesystem, DropProgress, DropRefusal};
use weft_wire::management::FilesystemRefusal;

use crate::filesystems::store_refusal;
use crate::management::Management;

/// How often compute is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long compute may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Kept of a caller's deadline for the store and the way back.
const RESERVE: Duration = Duration::from_secs(1);

impl Management {
    /// Deletes a filesystem. It is marked durably, and compute has taken the deletion over, when this returns `Ok`.
    pub(crate) async fn delete_filesystem(
        &self,
        name: String,
        deadline: Instant,
    ) -> Result<(), FilesystemRefusal> {
        let mark = name.clone();
        let marked = self.keeper.change(move |contents| contents.mark_deleting(&mark)).await;
        let marked = marked.map_err(store_refusal)?;
        let wait = deadline.saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
        let refusal = match self.drop_filesystem(marked.filesystem, wait.clamp(RESERVE, ANSWER_MAX)).await {
            Ok(DropProgress { done: true, .. }) => return self.forget(marked.filesystem).await,
            Ok(_) => {
                self.deleting.notify_one();
                return Ok(());
            }
            Err(CallError::Refused(DropRefusal::Mounted { holder })) => {
                let holder = format!("{}:{} (process {})", holder.host, holder.mount, holder.pid);
                FilesystemRefusal::Mounted { holder }
            }
            Err(CallError::Refused(DropRefusal::MetadataUnavailable { reason })) => {
                FilesystemRefusal::Store { reason: format!("its metadata cannot be opened: {reason}") }
            }
            Err(error) if error.outcome_unknown() => {
                tracing::warn!(%error, name, "compute may be deleting a filesystem");
                self.deleting.notify_one();
                return Err(FilesystemRefusal::NoCompute);
            }
            Err(error) => {
                tracing::warn!(%error, name, "compute does not delete a filesystem");
                FilesystemRefusal::NoCompute
            }
        };
        // Compute did nothing: it is as if nobody had asked, unless somebody had asked before.
        if !marked.before {
            let unmark = self.keeper.change(move |contents| contents.unmark_deleting(&name));
            unmark.await.map_err(store_refusal)?;
        }
        Err(refusal)
    }

    /// Sees every deletion through, for ever.
    pub(crate) async fn see_deletions_through(self) {
        loop {
            let deleting: Vec<_> = self.keeper.contents().deleting().collect();
            if deleting.is_empty() {
                self.deleting.notified().await;
                continue;
            }
            tokio::time::sleep(ASK_EVERY).await;
            for filesystem in deleting {
                match self.drop_filesystem(filesystem, ANSWER_MAX).await {
                    Ok(DropProgress { done: true, .. }) => {
                        if let Err(error) = self.forget(filesystem).await {
                            tracing::error!(%error, %filesystem, "a deleted filesystem was not forgotten");
                        }
                    }
                    Ok(DropProgress { extents_left, .. }) => {
                        tracing::debug!(%filesystem, extents_left, "a filesystem is being deleted");
                    }
                    Err(error) => tracing::warn!(%error, %filesystem, "a deletion waits for compute"),
                }
            }
        }
    }

    async fn drop_filesystem(
        &self,
        filesystem: FilesystemId,
        wait: Duration,
    ) -> Result<DropProgress, CallError<DropRefusal>> {
        let Some(compute) = self.compute() else {
            return Err(CallError::Fault(weft_wire::Fault::NotServing));
        };
        let call = DropFilesystem { filesystem };
        let (progress, _) = self.pool.call(&compute, &call, Bulk::none(), wait).await?;
        Ok(progress)
    }

    /// The compute process: this version runs one.
    fn compute(&self) -> Option<Peer> {
        let contents = self.keeper.contents();
        let entry = contents.map.computes.first()?;
        let identity = NodeIdentity { cluster: contents.map.cluster, role: Role::Compute, node: entry.node };
        Some(Peer { identity, address: entry.address.parse().ok()? })
    }

    async fn forget(&self, filesystem: FilesystemId) -> Result<(), FilesystemRefusal> {
        let forget = move |contents: &mut crate::contents::Contents| {
            contents.remove_deleted(filesystem);
            Ok(())
        };
        self.keeper.change(forget).await.map_err(store_refusal)?;
        tracing::info!(%filesystem, "a filesystem was deleted");
        Ok(())
    }
}
