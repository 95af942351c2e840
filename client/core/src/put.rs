//! One extent: sealed once, and stored with the members of a placement group.

mod many;
mod placing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use weft_keys::DataKey;
use weft_layout::Geometry;
use weft_types::{
    ByteCount, DataKeyId, DriveId, Epoch, ExtentId, ExtentSeq, FileOffset, GroupId, ShardIndex,
};
use weft_wire::drive::{ShardHeader, ShardKey};
use weft_wire::meta::{MapEntry, NewExtent};

use crate::dirty::Piece;
use crate::seal::{SealedExtent, seal};
use crate::{Core, FsError};
pub(crate) use many::{MANY, MANY_BYTES, SHORT_BYTES};
use placing::Placing;

/// Longer pieces are sealed on a thread of their own.
const SEAL_HERE_MAX: usize = 128 << 10;

/// A file's key for new extents.
pub(crate) type WritingKey = (DataKeyId, Arc<DataKey>);

/// An extent that is stored. Its sealed bytes are kept until it is committed: should its group change before, they are
/// what goes to the new members.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) extent: ExtentId,
    pub(crate) offset: FileOffset,
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    key: DataKeyId,
    sealed: SealedExtent,
    /// Which drives have acknowledged which shards.
    acks: Vec<(ShardIndex, DriveId)>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Stored {
    /// What is offered for commit.
    pub(crate) const fn offer(&self) -> NewExtent {
        NewExtent {
            offset: self.offset,
            extent: self.extent,
            geometry: self.sealed.geometry,
            group: self.group,
            group_epoch: self.epoch,
            key: self.key,
        }
    }

    /// The map entry that a commit makes.
    pub(crate) fn entry(&self) -> MapEntry {
        MapEntry {
            offset: self.offset,
            len: u32::try_from(self.len()).unwrap_or(u32::MAX),
            extent: self.extent,
            extent_offset: 0,
            geometry: self.sealed.geometry,
            group: self.group,
            key: self.key,
            group_epoch: self.epoch,
        }
    }

    /// Bytes of the file that it holds: 1 to 4 MiB.
    pub(crate) const fn len(&self) -> u64 {
        self.sealed.geometry.plaintext_bytes().get()
    }

    /// The first byte of the file behind it.
    pub(crate) const fn end(&self) -> u64 {
        self.offset.get() + self.len()
    }

    fn header(&self, core: &Core, index: ShardIndex) -> ShardHeader {
        ShardHeader {
            key: ShardKey { extent: self.extent, index },
            filesystem: core.session.filesystem(),
            geometry: self.sealed.geometry,
            group: self.group,
            group_epoch: self.epoch,
            digests: self.sealed.digests.clone(),
        }
    }
}

impl Core {
    /// The shape of an extent of so many bytes.
    pub(crate) fn geometry(&self, len: u64) -> Result<Geometry, FsError> {
        Geometry::new(self.cluster.view().protection(), ByteCount::new(len)).map_err(|_| FsError::Protocol)
    }

    /// Bytes of memory that the shards of an extent of so many bytes take.
    pub(crate) fn sealed_len(&self, len: u64) -> Result<u32, FsError> {
        let stored = self.geometry(len)?.stored_bytes().get();
        Ok(u32::try_from(stored).unwrap_or(u32::MAX))
    }

    /// Seals a piece under a fresh id and stores its shards; all of them are durable when answered. `memory` is held
    /// as long as the result lives.
    pub(crate) async fn put_extent(
        self: &Arc<Self>,
        piece: Piece,
        key: (DataKeyId, Arc<DataKey>),
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<Stored, FsError> {
        let geometry = self.geometry(piece.data.len() as u64)?;
        let extent = self.next_id();
        if piece.data.len() as u64 <= SHORT_BYTES {
            self.extents.keep(extent, piece.data.clone());
        }
        let group = self.cluster.choose_group(&[]).ok_or(FsError::NoSpace)?;
        let mut stored = Stored {
            extent,
            offset: FileOffset::new(piece.offset),
            group: group.id,
            epoch: group.epoch,
            key: key.0,
            sealed: self.seal(piece.data, extent, geometry, key.1).await?,
            acks: Vec::new(),
            _memory: memory,
        };
        Placing::new(self, &mut stored, group).run().await?;
        Ok(stored)
    }

    /// Stores what the present members of the group do not have yet. Returns whether the group has changed.
    pub(crate) async fn put_again(self: &Arc<Self>, stored: &mut Stored) -> Result<bool, FsError> {
        let view = self.cluster.view();
        let group = view.group(stored.group).cloned();
        let group = group.or_else(|| self.cluster.choose_group(&[])).ok_or(FsError::NoSpace)?;
        if (group.id, group.epoch) == (stored.group, stored.epoch) {
            return Ok(false);
        }
        Placing::new(self, stored, group).run().await?;
        Ok(true)
    }

    async fn seal(
        &self,
        plaintext: Bytes,
        extent: ExtentId,
        geometry: Geometry,
        key: Arc<DataKey>,
    ) -> Result<SealedExtent, FsError> {
        let codecs = Arc::clone(&self.fetcher.codecs);
        let filesystem = self.session.filesystem();
        let here = !self.sealing_threads || plaintext.len() <= SEAL_HERE_MAX;
        let work = move || {
            codecs.with(geometry, |codec| seal(codec, &key, filesystem, extent, geometry, &plaintext))
        };
        if here {
            return work();
        }
        self.runtime.spawn_blocking(work).await.map_err(|_| FsError::SessionEnded)?
    }

    fn next_id(&self) -> ExtentId {
        let seq = ExtentSeq::new(self.next_extent.fetch_add(1, Ordering::Relaxed));
        ExtentId { session: self.session.id(), seq }
    }
}
