//! Listings.

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::meta::{DirectoryEntry, FileKind, ListDirectory, MetaOp, MetaReply};

use crate::listing::{COOKIE_PARENT, COOKIE_SELF};
use crate::{Core, FsError, Listing, ListingEntry, ListingName};

impl Core {
    /// A page of a directory after a cookie (0 starts), `.` and `..` first. At most `limit` entries. Entries count
    /// no references: see [`remember`](Self::remember).
    ///
    /// # Errors
    /// `Refused(NotDirectory)`; any of [`FsError`] when the owner cannot be asked.
    pub async fn list_directory(
        self: &Arc<Self>,
        directory: Inode,
        after: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<Listing, FsError> {
        self.session.serving().await?;
        let mut entries = Vec::new();
        if after < COOKIE_SELF && limit > 0 {
            entries.push(dot(COOKIE_SELF, ListingName::Itself, directory));
        }
        if after < COOKIE_PARENT && limit > 1 {
            let parent = self.parent_of(directory).await?;
            entries.push(dot(COOKIE_PARENT, ListingName::Parent, parent));
        }
        let limit = limit.saturating_sub(entries.len() as u32);
        if limit == 0 {
            return Ok(Listing { entries, end: false });
        }
        let (ticket, any) = (self.names.ticket(directory), self.names.ticket_of_any());
        let after = if after <= COOKIE_PARENT { 0 } else { after };
        let op = ListDirectory { inode: directory, after, limit, with_attributes };
        let done = self.ask(MetaOp::ListDirectory(op)).await?;
        let MetaReply::Directory(page) = done.reply else { return Err(FsError::Protocol) };
        let (ticket, any) = (ticket.answered(done.stamp), any.answered(done.stamp));
        self.note_access(directory);
        for entry in &page.entries {
            self.names.remember_entry(ticket, directory, entry.name.clone(), Some(entry.inode));
            if let Some(attributes) = &entry.attributes {
                self.names.remember_attributes(any, attributes);
                self.names.remember_parent(ticket, attributes, directory);
            }
        }
        entries.extend(page.entries.into_iter().map(|entry| self.listed(entry)));
        Ok(Listing { entries, end: page.end })
    }

    async fn parent_of(self: &Arc<Self>, directory: Inode) -> Result<Inode, FsError> {
        if directory == Inode::ROOT {
            return Ok(directory);
        }
        if let Some(parent) = self.names.parent(directory) {
            return Ok(parent);
        }
        let parent = self.lookup_parent(directory).await?;
        self.references.forget(parent.inode, 1);
        Ok(parent.inode)
    }

    fn listed(&self, entry: DirectoryEntry) -> ListingEntry {
        ListingEntry {
            cookie: entry.cookie,
            name: ListingName::Child(entry.name),
            inode: entry.inode,
            kind: entry.kind,
            attributes: entry.attributes.map(|attributes| self.present(attributes)),
        }
    }
}

const fn dot(cookie: u64, name: ListingName, inode: Inode) -> ListingEntry {
    ListingEntry { cookie, name, inode, kind: FileKind::Directory, attributes: None }
}
