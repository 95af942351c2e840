//! What owners of metadata shards ask of management.

use core::time::Duration;
use std::sync::{MutexGuard, PoisonError};

use weft_types::{MetadataShard, NodeId, SessionId};
use weft_wire::management::{FilesystemRefusal, Ownership};
use weft_wire::ownership::{
    GetShardRow, Held, OwnershipsRenewed, RegisterSession, RenewOwnerships, ReportCare, SessionRegistered,
    ShardRowReply, SwapRefusal, SwapShard,
};

use crate::contents::Contents;
use crate::filesystems::store_refusal;
use crate::grants::{log_grants, session_grant};
use crate::keeper::{ChangeError, in_one_line};
use crate::leases::{LEASE, Leases, lease_of};
use crate::management::Management;
use crate::random;
use crate::sessions::SessionRow;
use crate::shards::Taken;

impl Management {
    /// Gives a metadata shard to an owner under a new epoch; durable on return.
    pub(crate) async fn own_filesystem(
        &self,
        name: String,
        shard: MetadataShard,
        owner: NodeId,
    ) -> Result<Ownership, FilesystemRefusal> {
        let this = self.clone();
        let change = move |contents: &mut Contents| {
            contents.take_ownership(&name, shard, owner, |filesystem, before| {
                this.leases().is_contested((filesystem, shard), owner, Some(before), this.now())
            })
        };
        let Taken { filesystem, row, before } = self.keeper.change(change).await.map_err(store_refusal)?;
        let key = (filesystem.id, shard);
        let serve_after = {
            // After the change: what was renewed until then counts too.
            let mut leases = self.leases();
            let now = self.now();
            let left = leases.left(key, owner, before, now);
            leases.extend(key, owner, now, LEASE);
            left
        };
        tracing::info!(filesystem = %filesystem.id, %shard, epoch = %row.epoch, %owner, ?serve_after, "owned");
        let (filesystem_keys, metadata_key, name_key) = filesystem.wraps();
        let grants = log_grants(&self.authority, &self.keeper.contents().map, key, &row);
        Ok(Ownership {
            filesystem: filesystem.info(),
            epoch: row.epoch,
            filesystem_keys,
            metadata_key,
            name_key,
            row,
            grants,
            lease_ms: milliseconds(LEASE),
            serve_after_ms: milliseconds(serve_after),
        })
    }

    /// Replaces a shard's row; durable on return.
    pub(crate) async fn swap_shard(&self, call: SwapShard, node: NodeId) -> Result<(), SwapRefusal> {
        let SwapShard { filesystem, shard, row } = call;
        let change = move |contents: &mut Contents| contents.swap_shard(filesystem, shard, row, node);
        self.keeper.change(change).await.map_err(swap_refusal)
    }

    /// A shard's row and grants for its owner.
    pub(crate) fn shard_row(&self, call: GetShardRow, node: NodeId) -> Result<ShardRowReply, SwapRefusal> {
        let GetShardRow { filesystem, shard, epoch } = call;
        let contents = self.keeper.contents();
        let row = contents.held(&Held { filesystem, shard, epoch }, node)?.clone();
        let grants = log_grants(&self.authority, &contents.map, (filesystem, shard), &row);
        Ok(ShardRowReply { row, grants })
    }

    /// Renews and ends leases.
    pub(crate) fn renew_ownerships(&self, call: &RenewOwnerships, node: NodeId) -> OwnershipsRenewed {
        // Before the contents are read: a takeover looks at the leases after its change can be seen.
        let mut leases = self.leases();
        let (contents, now) = (self.keeper.contents(), self.now());
        let lease = lease_of(self.keeper.status().confirmed.elapsed());
        let mut deposed = Vec::new();
        for held in &call.held {
            if contents.held(held, node).is_ok() {
                leases.extend((held.filesystem, held.shard), node, now, lease);
            } else {
                deposed.push(*held);
            }
        }
        for held in call.released.iter().filter(|held| contents.held(held, node).is_ok()) {
            leases.release((held.filesystem, held.shard), node, now);
        }
        leases.keep(|(filesystem, shard)| contents.shard(filesystem, shard).is_some());
        OwnershipsRenewed { lease_ms: milliseconds(lease), deposed }
    }

    /// Makes a session; durable on return.
    pub(crate) async fn register_session(
        &self,
        call: RegisterSession,
        owner: NodeId,
    ) -> Result<SessionRegistered, SwapRefusal> {
        let row = SessionRow { session: SessionId::from_bytes(random::array()), node: call.node };
        let held = call.owner;
        let change = move |contents: &mut Contents| contents.register_session(&held, owner, row);
        self.keeper.change(change).await.map_err(swap_refusal)?;
        let grant = session_grant(&self.authority, held.filesystem, row);
        Ok(SessionRegistered { session: row.session, grant })
    }

    /// Ends a session; durable on return.
    pub(crate) async fn end_session(
        &self,
        held: Held,
        session: SessionId,
        owner: NodeId,
    ) -> Result<(), SwapRefusal> {
        let change = move |contents: &mut Contents| contents.end_session(&held, owner, session);
        self.keeper.change(change).await.map_err(swap_refusal)
    }

    /// The sessions of a filesystem that have not ended.
    pub(crate) fn registered_sessions(
        &self,
        held: &Held,
        owner: NodeId,
    ) -> Result<Vec<SessionId>, SwapRefusal> {
        let contents = self.keeper.contents();
        contents.held(held, owner)?;
        let filesystem = contents.filesystem(held.filesystem).ok_or(SwapRefusal::NotFound)?;
        Ok(filesystem.sessions.iter().map(|row| row.session).collect())
    }

    /// Takes what an owner found out about where its extents lie.
    pub(crate) fn report_care(&self, call: &ReportCare, node: NodeId) -> Result<(), SwapRefusal> {
        let contents = self.keeper.contents();
        contents.held(&call.owner, node)?;
        let mut care = self.care();
        care.report(call);
        care.forget(&contents);
        drop(care);
        self.look.notify_one();
        Ok(())
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn swap_refusal(error: ChangeError<SwapRefusal>) -> SwapRefusal {
    match error {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Write(error) => SwapRefusal::Store { reason: in_one_line(&error) },
    }
}

#[cfg(test)]
mod tests;
