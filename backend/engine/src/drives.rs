//! The seam to the drives that hold a log's copies and its checkpoints' objects.

use std::sync::Arc;

use bytes::Bytes;
use weft_layout::ClusterMap;
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogHeld, LogRead, LogRefusal, LogStored,
    ObjectKey, PutLog, PutObject, ReadLog, ReadLogRefusal, SealLog, TrimLog,
};
use weft_wire::ownership::DriveHome;

/// Why a drive did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveCallError<R> {
    /// No answer came within the deadline, or the drive's process could not serve. Whether the call took effect is
    /// unknown.
    #[error("the drive cannot be reached: {0}")]
    Unreachable(String),
    /// The drive said no.
    #[error("the drive refused")]
    Refused(R),
}

/// Calls to drives. Each has a deadline of a few seconds that the implementation keeps, and may be given up (its
/// future dropped) at any time: whether it took effect is then unknown.
pub trait LogDrives: Send + Sync {
    /// The newest map that is known.
    fn map(&self) -> Arc<ClusterMap>;

    /// Begins an ownership at a drive.
    fn seal(
        &self,
        home: DriveHome,
        call: SealLog,
    ) -> impl Future<Output = Result<LogHeld, DriveCallError<LogRefusal>>> + Send;

    /// Puts one record.
    fn put(
        &self,
        home: DriveHome,
        call: PutLog,
        record: Bytes,
    ) -> impl Future<Output = Result<LogStored, DriveCallError<LogRefusal>>> + Send;

    /// Reads records; the bytes are those that the entries tell the lengths of.
    fn read(
        &self,
        home: DriveHome,
        call: ReadLog,
    ) -> impl Future<Output = Result<(LogRead, Bytes), DriveCallError<ReadLogRefusal>>> + Send;

    /// Lets go of records.
    fn trim(
        &self,
        home: DriveHome,
        call: TrimLog,
    ) -> impl Future<Output = Result<(), DriveCallError<LogRefusal>>> + Send;

    /// Puts a part of a checkpoint.
    fn put_object(
        &self,
        home: DriveHome,
        call: PutObject,
        part: Bytes,
    ) -> impl Future<Output = Result<LogStored, DriveCallError<LogRefusal>>> + Send;

    /// Reads a part of a checkpoint.
    fn get_object(
        &self,
        home: DriveHome,
        call: GetObject,
    ) -> impl Future<Output = Result<Bytes, DriveCallError<GetObjectRefusal>>> + Send;

    /// Deletes parts of checkpoints.
    fn delete_objects(
        &self,
        home: DriveHome,
        call: DeleteObjects,
    ) -> impl Future<Output = Result<(), DriveCallError<LogRefusal>>> + Send;

    /// One page of a drive's parts of checkpoints; empty only at the end.
    fn list_objects(
        &self,
        home: DriveHome,
        call: ListObjects,
    ) -> impl Future<Output = Result<Vec<ObjectKey>, DriveCallError<ReadLogRefusal>>> + Send;
}
