//! Attributes as the kernel wants them.

use weft_core::{Attributes, Core, FileKind};
use weft_fusedev::NodeId;
use weft_fusedev::protocol::{self, Entry, NodeAttributes, Time};
use weft_types::{Inode, Timestamp};
use weft_wire::meta::TimeChange;

/// Preferred size of requests in `st_blksize`: what `cp` and the like read and write at once.
const IO_BYTES: u32 = 1 << 20;

/// The kernel's name of an inode.
pub(crate) const fn node(inode: Inode) -> NodeId {
    NodeId::new(inode.get())
}

/// The inode that the kernel names.
pub(crate) const fn inode(node: NodeId) -> Inode {
    Inode::new(node.get())
}

/// `struct stat` of an inode.
pub(crate) fn node_attributes(attributes: &Attributes) -> NodeAttributes {
    NodeAttributes {
        node: node(attributes.inode),
        size: attributes.size,
        blocks: attributes.allocated.get().div_ceil(512),
        accessed: time(attributes.accessed),
        modified: time(attributes.modified),
        changed: time(attributes.changed),
        created: time(attributes.created),
        mode: kind_bits(attributes.kind) << 12 | u32::from(attributes.mode),
        links: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        device: attributes.device,
        block_size: IO_BYTES,
    }
}

/// What a name leads to, and how long the kernel may believe it.
pub(crate) fn entry(core: &Core, found: &Attributes) -> Entry {
    let ttl = core.cache_ttl();
    Entry {
        node: node(found.inode),
        // The kernel wants it so.
        generation: if found.inode == Inode::ROOT { 0 } else { found.generation.get() },
        name_ttl: ttl,
        attributes_ttl: ttl,
        attributes: node_attributes(found),
    }
}

/// The highest four bits of a mode.
pub(crate) const fn kind_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::Fifo => 0o01,
        FileKind::CharDevice => 0o02,
        FileKind::Directory => 0o04,
        FileKind::BlockDevice => 0o06,
        FileKind::File => 0o10,
        FileKind::Symlink => 0o12,
        FileKind::Socket => 0o14,
    }
}

/// A time that the kernel asks to be set.
pub(crate) const fn time_change(change: protocol::TimeChange) -> TimeChange {
    match change {
        protocol::TimeChange::Now => TimeChange::Now,
        protocol::TimeChange::At(Time { seconds, nanos }) => TimeChange::At(Timestamp { seconds, nanos }),
    }
}

const fn time(time: Timestamp) -> Time {
    Time { seconds: time.seconds, nanos: time.nanos }
}
