//! A drive's items, as custody writes and reads them.

use core::fmt;
use std::error::Error;

use bytes::Bytes;

use super::{AsyncItems, Undone, Unread};
use crate::custody::{ItemKey, Write, WriteFailed};
use crate::drive::{Drive, DriveError};
use crate::reader::ReadError;

impl AsyncItems for Drive {
    async fn write(&self, write: Write) -> Result<(), Undone> {
        match write {
            Write::Put(key, value) => self.put_item(key, value).await.map_err(undone),
            Write::Delete(keys) => self.delete_items(keys).await.map(drop).map_err(undone),
        }
    }

    async fn read(&self, key: &ItemKey) -> Result<Bytes, Unread> {
        self.read_item(key.clone()).await.map_err(|error| match error {
            DriveError::Overloaded => Unread::Overloaded,
            DriveError::Closed => Unread::Closed,
            DriveError::Failed(error) => Unread::Failed(ReadError::into(error)),
        })
    }

    /// Shards find no room any more, and items take of what is left for them.
    fn tight(&self) -> bool {
        self.usage().writable.get() == 0
    }
}

fn undone<E: Into<WriteFailed> + fmt::Debug + Error + 'static>(error: DriveError<E>) -> Undone {
    match error {
        DriveError::Overloaded => Undone::Overloaded,
        DriveError::Closed => Undone::Closed,
        DriveError::Failed(error) => Undone::Failed(error.into()),
    }
}
