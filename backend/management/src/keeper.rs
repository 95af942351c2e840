//! The open cluster store, as management has it.

use weft_engine::store::QuorumStore;

use crate::contents::Contents;

pub(crate) use weft_engine::store::ChangeError;

/// Keeps the cluster store: one change after the other, each durable on a majority of the voting drives before it is
/// seen. Cheap to clone; all clones are one.
pub(crate) type Keeper = QuorumStore<Contents>;

/// An error and its causes, for those who do not see the log.
pub(crate) fn in_one_line(error: &dyn core::error::Error) -> String {
    let causes = core::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
