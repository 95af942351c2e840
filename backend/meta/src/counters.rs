//! The row of counters.

use weft_types::{ByteCount, DataKeyId, Generation, Inode, MetadataShard};
use weft_wire::meta::MetaError;

use crate::Transaction;
use crate::row::{CountersRow, RowKey};
use crate::transaction::{load_known, store};

/// The shard that numbers inodes; a filesystem has one.
const SHARD: MetadataShard = MetadataShard::new(0);

/// The counters.
pub(crate) fn get(tx: &dyn Transaction) -> Result<CountersRow, MetaError> {
    load_known(tx, RowKey::Counters)
}

/// Changes the counters.
pub(crate) fn update<T>(
    tx: &mut dyn Transaction,
    change: impl FnOnce(&mut CountersRow) -> Result<T, MetaError>,
) -> Result<T, MetaError> {
    let mut counters = get(tx)?;
    let result = change(&mut counters)?;
    store(tx, RowKey::Counters, &counters);
    Ok(result)
}

impl CountersRow {
    /// The counters of a filesystem that has nothing yet, not even its root.
    pub(crate) const fn new() -> Self {
        Self {
            next_inode: Inode::ROOT.get(),
            next_key: DataKeyId::new(1),
            next_generation: Generation::new(1),
            inodes: 0,
            mapped: ByteCount::new(0),
            extents: 0,
        }
    }

    /// Number and generation of a new inode.
    pub(crate) fn take_inode(&mut self) -> Result<(Inode, Generation), MetaError> {
        let inode = Inode::in_shard(SHARD, self.next_inode).ok_or(MetaError::NoSpace)?;
        let generation = self.next_generation;
        self.next_inode += 1;
        self.next_generation = Generation::new(one_more(generation.get())?);
        self.inodes = one_more(self.inodes)?;
        Ok((inode, generation))
    }

    /// Id of a new data key.
    pub(crate) fn take_key(&mut self) -> Result<DataKeyId, MetaError> {
        let id = self.next_key;
        self.next_key = DataKeyId::new(one_more(id.get())?);
        Ok(id)
    }

    /// An inode is gone.
    pub(crate) fn drop_inode(&mut self) -> Result<(), MetaError> {
        self.inodes = self.inodes.checked_sub(1).ok_or(MetaError::Damaged)?;
        Ok(())
    }

    /// Inodes that can still be numbered.
    pub(crate) const fn inodes_free(&self) -> u64 {
        (1_u64 << 48).saturating_sub(self.next_inode)
    }

    /// Maps refer to `more` bytes more and `less` bytes less.
    pub(crate) fn remap(&mut self, more: u64, less: u64) -> Result<(), MetaError> {
        self.mapped = remapped(self.mapped, more, less)?;
        Ok(())
    }
}

/// A count after one more. No count that was kept right ever overflows.
pub(crate) fn one_more(count: u64) -> Result<u64, MetaError> {
    count.checked_add(1).ok_or(MetaError::Damaged)
}

/// A count of mapped bytes after a change.
pub(crate) fn remapped(mapped: ByteCount, more: u64, less: u64) -> Result<ByteCount, MetaError> {
    let sum = mapped.get().checked_add(more).and_then(|sum| sum.checked_sub(less));
    sum.map(ByteCount::new).ok_or(MetaError::Damaged)
}
