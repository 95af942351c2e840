//! One extent: sealed once, and stored with the members of a placement group.

mod many;
mod placing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use weft_keys::DataKey;
use weft_layout::{Geometry, PlacementGroup};
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
        key: WritingKey,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<Stored, FsError> {
        let group = self.cluster.choose_group(&[]).ok_or(FsError::NoSpace)?;
        let sealed = self.seal(vec![(piece, key)], &group, memory).await?;
        let mut stored = sealed.into_iter().next().ok_or(FsError::Protocol)?;
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

    /// Seals pieces under fresh ids, for the members of a group; nothing is stored yet. `memory` is what all of them take.
    async fn seal(
        &self,
        pieces: Vec<(Piece, WritingKey)>,
        group: &PlacementGroup,
        mut memory: Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<Stored>, FsError> {
        let bytes: usize = pieces.iter().map(|(piece, _)| piece.data.len()).sum();
        let count = pieces.len();
        let mut todo = Vec::with_capacity(count);
        for (piece, key) in pieces {
            let (extent, geometry) = (self.next_id(), self.geometry(piece.data.len() as u64)?);
            if piece.data.len() as u64 <= SHORT_BYTES {
                // What was just written is often read soon, and is not in the kernel's cache.
                self.extents.keep(extent, piece.data.clone());
            }
            // The last one holds what is left.
            let bytes = usize::try_from(geometry.stored_bytes().get()).unwrap_or(usize::MAX);
            let is_last = todo.len() + 1 == count;
            let part = if is_last { memory.take() } else { memory.as_mut().and_then(|all| all.split(bytes)) };
            todo.push((extent, geometry, piece, key, part));
        }
        let codecs = Arc::clone(&self.fetcher.codecs);
        let filesystem = self.session.filesystem();
        let (group, epoch) = (group.id, group.epoch);
        let work = move || {
            let mut stored = Vec::with_capacity(todo.len());
            for (extent, geometry, Piece { offset, data }, (id, key), memory) in todo {
                let sealed =
                    codecs.with(geometry, |codec| seal(codec, &key, filesystem, extent, geometry, &data))?;
                let offset = FileOffset::new(offset);
                let acks = Vec::new();
                stored.push(Stored { extent, offset, group, epoch, key: id, sealed, acks, _memory: memory });
            }
            Ok(stored)
        };
        if !self.sealing_threads || bytes <= SEAL_HERE_MAX {
            return work();
        }
        self.runtime.spawn_blocking(work).await.map_err(|_| FsError::SessionEnded)?
    }

    fn next_id(&self) -> ExtentId {
        let seq = ExtentSeq::new(self.next_extent.fetch_add(1, Ordering::Relaxed));
        ExtentId { session: self.session.id(), seq }
    }
}
