//! Pure: byte-range locks and flock. Who holds what, and who waits for whom.
//!
//! - [`Table`]: the locks of a filesystem as POSIX `fcntl` and Linux `flock` say, with a queue for each file and the
//!   detection of deadlocks.
//! - [`LockServer`]: requests of sessions, each carried out once however often it is asked, and the reclaim of locks
//!   after another owner has begun.
//!
//! Nothing waits here, and nothing knows the time: whoever serves is told what was granted, and when to look.

mod deadlock;
mod file;
mod intervals;
mod reclaims;
mod server;
mod table;

pub use reclaims::Reclaims;
pub use server::{Asked, LockServer};
pub use table::{
    Holder, LOCKS_MAX, LOCKS_PER_SESSION_MAX, Place, Table, Ticket, Verdict, WAITS_PER_SESSION_MAX, Want,
};

#[cfg(test)]
mod tests;
