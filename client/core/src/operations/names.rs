//! Names: looking up, making, linking, moving, removing.

use std::sync::Arc;

use weft_types::Inode;
use weft_wire::coherence::Stamp;
use weft_wire::compute::MetaDone;
use weft_wire::meta::{
    Attributes, Caller, FileKind, MakeNode, MapPage, MetaError, MetaOp, MetaReply, Name, NewNode, Opened,
    Removed, Rename, RenameMode,
};

use super::attributes_of;
use crate::coherence::Creating;
use crate::file::Pinned;
use crate::foresight::FORESEEN_ENTRIES;
use crate::map::ExtentMap;
use crate::names::Ticket;
use crate::references::Reference;
use crate::{Core, FsError, HandleId, OpenMode};

const NOT_FOUND: FsError = FsError::Refused(MetaError::NotFound);

/// What was made, for whoever waits for it.
pub(super) struct Made {
    pub(super) attributes: Attributes,
    /// Of a regular file.
    pub(super) file: Option<Pinned>,
    pub(super) reference: Reference,
}

impl Made {
    /// Opens what was made; its reference is the caller's then.
    pub(super) fn open(self, core: &Core, open: OpenMode) -> Result<(Attributes, HandleId), FsError> {
        let handle = core.handles.open(self.file.ok_or(FsError::Protocol)?, open)?;
        self.reference.hand_over();
        Ok((self.attributes, handle))
    }
}

impl Core {
    /// A name, from memory. As [`lookup`](Self::lookup).
    pub fn try_lookup(&self, parent: Inode, name: &Name) -> Option<Result<Attributes, FsError>> {
        if !self.session.is_serving() {
            return None;
        }
        let Some(inode) = self.names.entry(parent, name)? else { return Some(Err(NOT_FOUND)) };
        let found = self.try_attributes(inode)?;
        if found.is_ok() {
            self.references.remember(inode);
        }
        Some(found)
    }

    /// The inode behind a name. A success counts as one reference: give it back by [`forget`](Self::forget).
    ///
    /// # Errors
    /// `Refused(NotFound)` when there is no such name; any of [`FsError`] when the owner cannot be asked.
    pub async fn lookup(self: &Arc<Self>, parent: Inode, name: &Name) -> Result<Attributes, FsError> {
        self.session.serving().await?;
        if let Some(found) = self.try_lookup(parent, name) {
            return found;
        }
        let attributes = self.ask_name(parent, name, true).await?;
        self.references.remember(attributes.inode);
        Ok(self.present(attributes))
    }

    /// `may_read`: what is found may be opened and read soon.
    async fn ask_name(
        self: &Arc<Self>,
        parent: Inode,
        name: &Name,
        may_read: bool,
    ) -> Result<Attributes, FsError> {
        let (ticket, any) = (self.names.ticket(parent), self.names.ticket_of_any());
        let map_entries = (may_read && self.foresight.asks()).then_some(FORESEEN_ENTRIES as u32);
        let answer = self.ask(MetaOp::Lookup { parent, name: Some(name.clone()), map_entries }).await;
        if map_entries.is_some()
            && !answer.as_ref().is_ok_and(|done| matches!(done.reply, MetaReply::Found(_)))
        {
            self.foresight.spared();
        }
        let done = answer?;
        let (ticket, any) = (ticket.answered(done.stamp), any.answered(done.stamp));
        let (attributes, map) = match done.reply {
            MetaReply::Absent => {
                self.names.remember_entry(ticket, parent, name.clone(), None);
                return Err(NOT_FOUND);
            }
            MetaReply::Found(found) if map_entries.is_some() => (found.attributes, Some(found.map)),
            reply => (attributes_of(reply)?, None),
        };
        self.names.remember_entry(ticket, parent, name.clone(), Some(attributes.inode));
        self.names.remember_attributes(any, &attributes);
        self.names.remember_parent(ticket, &attributes, parent);
        if let Some(map) = map {
            self.foresee(any, &attributes, map)?;
        }
        Ok(attributes)
    }

    /// The map of a file came with its name. It is taken only while nothing is known that it could contradict: nothing
    /// was changed since it was asked for, no newer attributes are remembered, and the file's map is blank. Else it is
    /// asked for when it is needed.
    fn foresee(&self, ticket: Ticket, attributes: &Attributes, map: MapPage) -> Result<(), FsError> {
        let bounded = map.entries.len() <= FORESEEN_ENTRIES && map.keys.len() <= FORESEEN_ENTRIES;
        if attributes.kind != FileKind::File || !map.end || !bounded {
            return Err(FsError::Protocol);
        }
        // Before there is a file by these attributes, and under its lock: a change that begins behind that puts what it
        // changes on top.
        if !self.names.is_current(ticket, attributes) {
            return Ok(());
        }
        let file = self.files.pin(attributes);
        let mut state = file.lock();
        if !self.names.is_current(ticket, attributes) || state.change > attributes.change {
            return Ok(());
        }
        state.know(attributes);
        if !state.map.is_blank() {
            return Ok(());
        }
        map.keys.iter().for_each(|grant| state.learn_key(grant));
        let version = state.map.version();
        state.foreseen = state.map.page(version, 0..u64::MAX, map.entries, true);
        if state.foreseen { Ok(()) } else { Err(FsError::Protocol) }
    }

    /// The inode behind a name, without counting a reference.
    async fn resolve(self: &Arc<Self>, parent: Inode, name: &Name) -> Result<Inode, FsError> {
        match self.names.entry(parent, name) {
            Some(Some(inode)) => Ok(inode),
            Some(None) => Err(NOT_FOUND),
            None => self.ask_name(parent, name, false).await.map(|attributes| attributes.inode),
        }
    }

    /// The directory that holds a directory (`..`). Counts a reference, as [`lookup`](Self::lookup).
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub async fn lookup_parent(self: &Arc<Self>, directory: Inode) -> Result<Attributes, FsError> {
        self.session.serving().await?;
        let found = match self.names.parent(directory) {
            Some(parent) => self.attributes(parent).await?,
            None => {
                let ticket = self.names.ticket_of_any();
                let op = MetaOp::Lookup { parent: directory, name: None, map_entries: None };
                let done = self.ask(op).await?;
                let attributes = attributes_of(done.reply)?;
                self.names.remember_attributes(ticket.answered(done.stamp), &attributes);
                attributes
            }
        };
        self.references.remember(found.inode);
        Ok(found)
    }

    /// Counts one reference to an inode: of every entry with attributes that a frontend passes on from a listing.
    pub fn remember(&self, inode: Inode) {
        self.references.remember(inode);
    }

    /// Gives references back. An unlinked file goes when it has neither references nor handles.
    pub fn forget(&self, inode: Inode, references: u64) {
        self.references.forget(inode, references);
    }

    /// Makes a file, directory, symbolic link or special file; durable when answered. `umask` takes bits off `mode`,
    /// unless the directory has a default access list; 0 when it is applied already. Counts a reference, as [`lookup`](Self::lookup).
    ///
    /// # Errors
    /// What the owner refuses, such as `Refused(Exists)`; any of [`FsError`] when it cannot be asked.
    pub async fn make_node(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
        node: NewNode,
        mode: u16,
        umask: u16,
    ) -> Result<Attributes, FsError> {
        let core = Arc::clone(self);
        let made = async move { core.make(caller, MakeNode { parent, name, node, mode, umask }).await };
        let made = self.complete(made).await?;
        made.reference.hand_over();
        Ok(made.attributes)
    }

    /// Makes a regular file and opens it; durable when answered. `mode`, `umask` and the reference as of
    /// [`make_node`](Self::make_node).
    ///
    /// # Errors
    /// As [`make_node`](Self::make_node).
    pub async fn create(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
        mode: u16,
        umask: u16,
        open: OpenMode,
    ) -> Result<(Attributes, HandleId), FsError> {
        let core = Arc::clone(self);
        let node = MakeNode { parent, name, node: NewNode::File, mode, umask };
        let made = async move { core.make(caller, node).await };
        let _creating = Creating::begin(&self.creating);
        self.complete(made).await?.open(self, open)
    }

    async fn make(self: &Arc<Self>, caller: Caller, node: MakeNode) -> Result<Made, FsError> {
        let (parent, name) = (node.parent, node.name.clone());
        let change = self.names.change([parent]);
        self.names.forget_entry(parent, name.clone());
        let done = self.session.meta(caller, MetaOp::MakeNode(node)).await;
        let inherited = done.as_ref().is_ok_and(|done| done.inherited);
        let (stamp, reply) = self.touched(&[parent], done)?;
        let (attributes, file) = match reply {
            MetaReply::Opened(opened) => {
                let file = self.new_file(stamp, &opened);
                (opened.attributes, Some(file))
            }
            MetaReply::Attributes(attributes) => (attributes, None),
            _ => return Err(FsError::Protocol),
        };
        self.names.set_entry(stamp, parent, name, Some(attributes.inode));
        self.names.set_attributes(stamp, &attributes);
        self.names.set_parent(stamp, &attributes, parent);
        if !inherited {
            self.names.set_no_xattrs(stamp, attributes.inode);
        }
        self.names.set_whole(stamp, &attributes);
        let reference = Reference::new(&self.references, attributes.inode);
        drop(change);
        Ok(Made { attributes, file, reference })
    }

    /// A change of names, or of extended attributes, was answered: what is remembered of these inodes, and of no other, is from
    /// before. Those that the owner tells of are known anew, the others are asked for when somebody wants to know.
    pub(super) fn touched(
        &self,
        inodes: &[Inode],
        done: Result<MetaDone, FsError>,
    ) -> Result<(Stamp, MetaReply), FsError> {
        if let Err(FsError::Refused(refusal)) = done {
            // Nothing was changed.
            return Err(refusal.into());
        }
        let (told, stamp) =
            done.as_ref().map_or((&[][..], Stamp::default()), |done| (&done.touched[..], done.stamp));
        for inode in inodes {
            match told.iter().find(|attributes| attributes.inode == *inode) {
                // Of several answers that came out of order the newest counts.
                Some(attributes) => self.names.set_attributes(stamp, attributes),
                None => self.names.forget_attributes(*inode),
            }
        }
        done.map(|done| (stamp, done.reply))
    }

    pub(super) fn new_file(&self, stamp: Stamp, opened: &Opened) -> Pinned {
        let file = self.files.pin(&opened.attributes);
        let mut state = file.lock();
        if self.names.believes(stamp, file.inode) {
            // Nobody else knows it yet.
            state.map = ExtentMap::of_new_file();
            state.hold_writing(stamp);
            state.know(&opened.attributes);
        }
        state.learn_key(&opened.key);
        state.key = Some(opened.key.id);
        drop(state);
        file
    }

    /// Removes a name that is not a directory's; durable when answered. Open files work on.
    ///
    /// # Errors
    /// What the owner refuses; any of [`FsError`] when it cannot be asked.
    pub async fn unlink(self: &Arc<Self>, caller: Caller, parent: Inode, name: Name) -> Result<(), FsError> {
        let op = MetaOp::Unlink { parent, name: name.clone() };
        self.remove(caller, parent, name, op).await
    }

    /// Removes an empty directory; durable when answered.
    ///
    /// # Errors
    /// What the owner refuses; any of [`FsError`] when it cannot be asked.
    pub async fn remove_directory(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
    ) -> Result<(), FsError> {
        let op = MetaOp::RemoveDirectory { parent, name: name.clone() };
        self.remove(caller, parent, name, op).await
    }

    async fn remove(
        self: &Arc<Self>,
        caller: Caller,
        parent: Inode,
        name: Name,
        op: MetaOp,
    ) -> Result<(), FsError> {
        let core = Arc::clone(self);
        let removed = async move {
            let _change = core.names.change([parent]);
            core.names.forget_entry(parent, name.clone());
            let done = core.session.meta(caller, op).await;
            let (stamp, MetaReply::Removed(removed)) = core.touched(&[parent], done)? else {
                return Err(FsError::Protocol);
            };
            core.names.set_entry(stamp, parent, name, None);
            core.lost_name(stamp, &removed);
            Ok(())
        };
        self.complete(removed).await
    }

    fn lost_name(&self, stamp: Stamp, removed: &Removed) {
        self.names.set_attributes(stamp, &removed.attributes);
        if removed.attributes.kind == FileKind::Directory {
            self.names.forget_parent(removed.attributes.inode);
        }
        if removed.orphaned {
            self.references.orphaned(removed.attributes.inode);
        }
    }

    /// Gives an inode another name; durable when answered, after all that was written to the file before. Counts a
    /// reference, as [`lookup`](Self::lookup).
    ///
    /// # Errors
    /// What the owner refuses; why earlier writes could not be committed; any of [`FsError`] when it cannot be asked.
    pub async fn link(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        parent: Inode,
        name: Name,
    ) -> Result<Attributes, FsError> {
        let core = Arc::clone(self);
        let linked = async move {
            core.commit_inode(inode).await?;
            let _change = core.names.change([parent, inode]);
            core.names.forget_entry(parent, name.clone());
            let op = MetaOp::Link { inode, parent, name: name.clone() };
            let done = core.session.meta(caller, op).await;
            let (stamp, reply) = core.touched(&[parent], done)?;
            let attributes = attributes_of(reply)?;
            core.names.set_entry(stamp, parent, name, Some(inode));
            core.names.set_attributes(stamp, &attributes);
            core.references.named(inode);
            let reference = Reference::new(&core.references, inode);
            Ok((core.present(attributes), reference))
        };
        let (attributes, reference) = self.complete(linked).await?;
        reference.hand_over();
        Ok(attributes)
    }

    /// Commits what is dirty of a file, when it is one.
    pub(super) async fn commit_inode(self: &Arc<Self>, inode: Inode) -> Result<(), FsError> {
        match self.files.find(inode) {
            Some(file) => self.commit_all(&file).await,
            None => Ok(()),
        }
    }

    /// Moves a name; durable when answered, after all that was written to the file before.
    ///
    /// # Errors
    /// What the owner refuses; why earlier writes could not be committed; any of [`FsError`] when it cannot be asked.
    pub async fn rename(
        self: &Arc<Self>,
        caller: Caller,
        from: (Inode, Name),
        to: (Inode, Name),
        mode: RenameMode,
    ) -> Result<(), FsError> {
        let core = Arc::clone(self);
        self.complete(async move { core.move_name(caller, from, to, mode).await }).await
    }

    async fn move_name(
        self: &Arc<Self>,
        caller: Caller,
        from: (Inode, Name),
        to: (Inode, Name),
        mode: RenameMode,
    ) -> Result<(), FsError> {
        let moved = self.resolve(from.0, &from.1).await?;
        self.commit_inode(moved).await?;
        let other = match mode {
            RenameMode::Exchange => Some(self.resolve(to.0, &to.1).await?),
            RenameMode::Replace | RenameMode::NoReplace => None,
        };
        if let Some(other) = other {
            self.commit_inode(other).await?;
        }
        let _change = self.names.change([from.0, to.0, moved].into_iter().chain(other));
        // Of two names of one inode both stay.
        let distinct = self.names.entry(to.0, &to.1).is_some_and(|target| target != Some(moved));
        self.names.forget_entry(from.0, from.1.clone());
        self.names.forget_entry(to.0, to.1.clone());
        let op =
            Rename { parent: from.0, name: from.1.clone(), new_parent: to.0, new_name: to.1.clone(), mode };
        let done = self.session.meta(caller, MetaOp::Rename(op)).await;
        let changed: Vec<_> = [Some(from.0), Some(to.0), Some(moved), other].into_iter().flatten().collect();
        let reply = self.touched(&changed, done);
        [Some(moved), other].into_iter().flatten().for_each(|inode| self.names.forget_parent(inode));
        let (stamp, MetaReply::Renamed { replaced }) = reply? else { return Err(FsError::Protocol) };
        if distinct || replaced.is_some() || mode != RenameMode::Replace {
            self.names.set_entry(stamp, from.0, from.1, other);
            self.names.set_entry(stamp, to.0, to.1, Some(moved));
        }
        if let Some(replaced) = replaced {
            self.lost_name(stamp, &replaced);
        }
        Ok(())
    }
}
