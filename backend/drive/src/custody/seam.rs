//! What custody needs of a store, and how a store gives it.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use weft_device::Device;

use super::decision::Write;
use super::operation::WriteFailed;
use crate::key::ItemKey;
use crate::reader::{ReadError, Reader};
use crate::store::{DeleteError, DeviceFailed, PutItemError, Store};

/// Why an item was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadItemError {
    /// There is none of that name.
    #[error("there is no such item")]
    Absent,
    /// Its bytes fail their checksum.
    #[error("the item is damaged")]
    Damaged,
    /// The device failed.
    #[error("the device failed")]
    Device(#[source] io::Error),
}

/// A store's items, to be read.
pub trait Items {
    /// The items whose keys begin with `prefix`, in order, after `after`; with the lengths of their values. Fewer than
    /// `limit` only at the end.
    fn list(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)>;

    /// The value of an item, verified.
    ///
    /// # Errors
    /// [`ReadItemError`].
    fn read(&self, key: &ItemKey) -> Result<Bytes, ReadItemError>;
}

/// A store's items, to be written too.
pub trait WriteItems: Items {
    /// Carries out the writes of a step. Durable on return; after an error some may be there.
    ///
    /// # Errors
    /// [`WriteFailed`].
    fn write(&mut self, step: &[Write]) -> Result<(), WriteFailed>;
}

impl<D: Device> Items for Reader<D> {
    fn list(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)> {
        self.list_items(prefix, after, limit)
    }

    fn read(&self, key: &ItemKey) -> Result<Bytes, ReadItemError> {
        Ok(self.read_item(key)?)
    }
}

impl<D: Device> Items for Store<D> {
    fn list(&self, prefix: &[u8], after: Option<&ItemKey>, limit: usize) -> Vec<(ItemKey, u32)> {
        Items::list(&self.reader(), prefix, after, limit)
    }

    fn read(&self, key: &ItemKey) -> Result<Bytes, ReadItemError> {
        Items::read(&self.reader(), key)
    }
}

impl<D: Device> WriteItems for Store<D> {
    fn write(&mut self, step: &[Write]) -> Result<(), WriteFailed> {
        for write in step {
            match write {
                Write::Put(key, value) => self.put_item(key, value)?,
                Write::Delete(keys) => drop(self.delete_items(keys)?),
            }
        }
        Ok(self.flush()?)
    }
}

impl From<ReadError> for ReadItemError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Absent => Self::Absent,
            ReadError::Corrupt { .. } | ReadError::OutOfRange { .. } => Self::Damaged,
            ReadError::Io(error) => Self::Device(error),
        }
    }
}

impl From<PutItemError> for WriteFailed {
    fn from(error: PutItemError) -> Self {
        match error {
            PutItemError::NoSpace => Self::NoSpace,
            PutItemError::TooLong { .. } => Self::Device,
            PutItemError::Device(failed) => failed.into(),
        }
    }
}

impl From<DeleteError> for WriteFailed {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NoSpace => Self::NoSpace,
            DeleteError::Device(failed) => failed.into(),
        }
    }
}

impl From<DeviceFailed> for WriteFailed {
    fn from(failed: DeviceFailed) -> Self {
        match failed {
            // A sparse file on a full host is a full drive.
            DeviceFailed::Now(error) if error.kind() == ErrorKind::StorageFull => Self::NoSpace,
            DeviceFailed::Now(_) | DeviceFailed::Earlier => Self::Device,
        }
    }
}
