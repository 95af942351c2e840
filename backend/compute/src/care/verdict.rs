//! What a shard that was found on a drive is. Pure.

use weft_layout::ClusterMap;
use weft_meta::ExtentRow;
use weft_meta::session::SessionState;
use weft_types::{DriveId, Timestamp};
use weft_wire::drive::ShardKey;

use super::homes::may_hold;

/// What to do with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is where it belongs, or there is no proof that it does not.
    Keep,
    /// All shards of its extent are elsewhere.
    Stray,
    /// No row names its extent, and none ever will.
    Orphan,
}

/// What a shard is that a drive held before its extent's row and its session's were read, from one state of the rows. An
/// orphan's session was closed before `before`.
pub(super) fn verdict(
    map: &ClusterMap,
    drive: DriveId,
    key: ShardKey,
    row: Option<&ExtentRow>,
    session: SessionState,
    before: Timestamp,
) -> Verdict {
    match (row, session) {
        (Some(row), _) => match may_hold(map, drive, key, row) {
            Some(false) => Verdict::Stray,
            Some(true) | None => Verdict::Keep,
        },
        (None, SessionState::Closed(at)) if at < before => Verdict::Orphan,
        (None, _) => Verdict::Keep,
    }
}
