//! Listings. They go on from cookies that the owner of the metadata gives, so an open directory has no state here.

use std::sync::Arc;

use weft_fusedev::protocol::{Answer, Opened, Read};
use weft_fusedev::{Handle, Header, Reply};

use super::Adapter;
use crate::attributes::inode;
use crate::listing;

impl Adapter {
    pub(super) fn open_directory(reply: Reply) {
        reply.answer(&Answer::opened(&Opened { handle: Handle::new(0), flags: 0 }));
    }

    pub(super) fn read_directory(&self, header: &Header, asked: &Read, reply: Reply) {
        let work = listing::plain(Arc::clone(&self.core), inode(header.node), asked.offset, asked.size);
        self.later(reply, work, |reply, listing| reply.data(&[listing.as_bytes()]));
    }

    pub(super) fn read_directory_plus(&self, header: &Header, asked: &Read, reply: Reply) {
        let work = listing::plus(Arc::clone(&self.core), inode(header.node), asked.offset, asked.size);
        let core = Arc::clone(&self.core);
        self.later(reply, work, move |reply, (listing, counted)| {
            // Before the kernel can give them back.
            counted.into_iter().for_each(|inode| core.remember(inode));
            reply.data(&[listing.as_bytes()]);
        });
    }
}
