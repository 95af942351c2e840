//! Filling the kernel's buffers with directory entries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use weft_core::{Core, ListingName};
use weft_types::Inode;

use crate::attributes::{file_attr, file_type, nameless};
use crate::errno::errno;

/// Entries asked of core at a time, without attributes; a buffer of the kernel's holds about as many.
const PLAIN_PAGE: u32 = 256;
/// The same with attributes, of which a buffer holds fewer.
const PLUS_PAGE: u32 = 64;

/// Fills a plain listing: names, inodes and types.
pub(crate) async fn plain(core: Arc<Core>, inode: Inode, mut after: u64, mut reply: ReplyDirectory) {
    loop {
        let page = match core.list_directory(inode, after, PLAIN_PAGE, false).await {
            Err(error) => return reply.error(errno(&error)),
            Ok(page) => page,
        };
        for entry in &page.entries {
            let name = OsStr::from_bytes(entry.name.as_bytes());
            if reply.add(INodeNo(entry.inode.get()), entry.cookie, file_type(entry.kind), name) {
                return reply.ok();
            }
            after = entry.cookie;
        }
        if page.end || page.entries.is_empty() {
            return reply.ok();
        }
    }
}

/// Fills a listing that answers the lookups of its names too.
pub(crate) async fn plus(core: Arc<Core>, inode: Inode, mut after: u64, mut reply: ReplyDirectoryPlus) {
    loop {
        let page = match core.list_directory(inode, after, PLUS_PAGE, true).await {
            Err(error) => return reply.error(errno(&error)),
            Ok(page) => page,
        };
        let ttl = core.cache_ttl();
        for entry in &page.entries {
            let (number, name) = (INodeNo(entry.inode.get()), OsStr::from_bytes(entry.name.as_bytes()));
            // The kernel takes no attributes for `.` and `..`, and counts no reference to them.
            let attributes = entry.attributes.as_ref().map_or_else(|| nameless(number), file_attr);
            let generation = Generation(entry.attributes.as_ref().map_or(0, |known| known.generation.get()));
            if reply.add(number, entry.cookie, name, &ttl, &attributes, generation) {
                return reply.ok();
            }
            if matches!(entry.name, ListingName::Child(_)) {
                core.remember(entry.inode);
            }
            after = entry.cookie;
        }
        if page.end || page.entries.is_empty() {
            return reply.ok();
        }
    }
}
