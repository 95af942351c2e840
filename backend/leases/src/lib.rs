//! Pure: which session remembers what of which inode, and what must be recalled before it changes.
//!
//! The owner of a filesystem's metadata asks a [`Leases`] before each operation, with what the operation [`Need`]s. Nothing
//! stands in its way: it is executed, and what its answer tells is counted as remembered. Something does: it is recalled from
//! the sessions that hold it, and the operation is asked for anew when they have forgotten it.
//!
//! - A session that is alone is not counted: it may remember everything. When another one comes it must attach anew.
//! - While an operation waits, what it waits for is not given away again: answers about it are not to be remembered, and
//!   sessions that hold nothing of it wait behind. Who holds it goes ahead: what it needs in order to forget (bytes to
//!   commit, a map to read) never waits for those that wait for it.
//! - After a change of ownership nobody goes ahead until every session that was open has attached or ended.
//!
//! There is no clock in here: whoever asks says when it is.

mod answers;
mod held;
mod need;
mod session;
mod table;
mod waiting;

pub use need::Need;
pub use table::{Leases, NotAttached, Verdict};
pub use waiting::WaitId;

#[cfg(test)]
mod tests;
