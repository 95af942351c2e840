//! What the kernel says and is told, as values: [`Request`]s out of bytes, answers into bytes. Pure.

mod answers;
mod attributes;
mod bodies;
mod entries;
pub mod flags;
mod forgets;
mod ids;
mod locks;
mod negotiation;
mod notifications;
mod opcodes;
mod reader;
mod request;
mod writer;

pub use answers::{Answer, FileSystemSpace, Opened, answer_header};
pub use attributes::{Entry, NodeAttributes, SetAttributes, Time, TimeChange};
pub use bodies::{Allocate, CopyRange, Create, MakeNode, Open, Read, Release, Seek, SetXattr, Write};
pub use entries::{Directory, DirectoryEntry};
pub use forgets::Forgets;
pub use ids::{Handle, LockOwner, NodeId, Unique};
pub use locks::{Lock, LockKind, LockRequest};
pub use negotiation::{Agreement, Init, Terms, TooOld};
pub use notifications::Notification;
pub use reader::Malformed;
pub use request::{Header, Refused, Request, parse};

#[cfg(test)]
mod tests;
