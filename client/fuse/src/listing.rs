//! Filling the kernel's buffers with directory entries.

use std::sync::Arc;

use weft_core::{Core, FsError, ListingEntry, ListingName};
use weft_fusedev::protocol::{Directory, DirectoryEntry};
use weft_types::Inode;

use crate::attributes::{entry, kind_bits, node};

/// Entries asked of core at a time, without attributes; a buffer of the kernel's holds about as many.
const PLAIN_PAGE: u32 = 256;
/// The same with attributes, of which a buffer holds fewer.
const PLUS_PAGE: u32 = 64;

/// Fills a plain listing: names, inodes and types.
pub(crate) async fn plain(
    core: Arc<Core>,
    inode: Inode,
    mut after: u64,
    room: u32,
) -> Result<Directory, FsError> {
    let mut listing = Directory::new(room);
    loop {
        let page = core.list_directory(inode, after, PLAIN_PAGE, false).await?;
        for entry in &page.entries {
            if !listing.push(&directory_entry(entry)) {
                return Ok(listing);
            }
            after = entry.cookie;
        }
        if page.end || page.entries.is_empty() {
            return Ok(listing);
        }
    }
}

/// Fills a listing that answers the lookups of its names too. Inodes that the kernel counts a reference to are in
/// `counted`.
pub(crate) async fn plus(
    core: Arc<Core>,
    inode: Inode,
    mut after: u64,
    room: u32,
) -> Result<(Directory, Vec<Inode>), FsError> {
    let (mut listing, mut counted) = (Directory::new(room), Vec::new());
    loop {
        let page = core.list_directory(inode, after, PLUS_PAGE, true).await?;
        for listed in &page.entries {
            // The kernel takes no attributes of `.` and `..`, and counts no reference to them.
            let is_child = matches!(listed.name, ListingName::Child(_));
            let attributes = listed.attributes.as_ref().filter(|_| is_child);
            let looked_up = attributes.map(|attributes| entry(&core, attributes));
            if !listing.push_plus(&directory_entry(listed), looked_up.as_ref()) {
                return Ok((listing, counted));
            }
            if looked_up.is_some() {
                counted.push(listed.inode);
            }
            after = listed.cookie;
        }
        if page.end || page.entries.is_empty() {
            return Ok((listing, counted));
        }
    }
}

fn directory_entry(entry: &ListingEntry) -> DirectoryEntry<'_> {
    DirectoryEntry {
        node: node(entry.inode),
        cookie: entry.cookie,
        kind: kind_bits(entry.kind),
        name: entry.name.as_bytes(),
    }
}
