//! Attributes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use weft_types::{ByteCount, Inode};
use weft_wire::meta::{AttributeChanges, Attributes, Caller, FileKind, MetaOp, Space};

use super::{attributes_of, stamped_attributes};
use crate::file::{File, FileState, Resize};
use crate::held::Held;
use crate::room::Room;
use crate::session::OPERATION_MAX;
use crate::{Core, FsError};

impl Core {
    /// Attributes, from memory. As [`attributes`](Self::attributes).
    pub fn try_attributes(&self, inode: Inode) -> Option<Result<Attributes, FsError>> {
        if !self.session.is_serving() {
            return None;
        }
        self.remembered(inode).map(Ok)
    }

    /// The attributes of an inode, with what was written and is not committed yet.
    ///
    /// # Errors
    /// `Refused(NotFound)` for an inode that is no more; any of [`FsError`] when the owner cannot be asked.
    pub async fn attributes(self: &Arc<Self>, inode: Inode) -> Result<Attributes, FsError> {
        self.session.serving().await?;
        if let Some(attributes) = self.remembered(inode) {
            return Ok(attributes);
        }
        let ticket = self.names.ticket(inode);
        let done = self.ask(MetaOp::GetAttributes { inode }).await?;
        let attributes = attributes_of(done.reply)?;
        self.names.remember_attributes(ticket.answered(done.stamp), &attributes);
        Ok(self.present(attributes))
    }

    /// What is remembered, with what is dirty on top.
    pub(crate) fn remembered(&self, inode: Inode) -> Option<Attributes> {
        let file = self.files.peek(inode);
        // A commit is remembered before its bytes stop being dirty: under the lock, one of both shows them.
        let state = file.as_ref().map(|file| file.lock());
        let mut attributes = self.names.attributes(inode)?;
        if let Some(mut state) = state {
            // What is remembered was not recalled: the file's length is this.
            state.know(&attributes);
            state.overlay(&mut attributes);
        }
        self.accesses.overlay(&mut attributes);
        Some(attributes)
    }

    /// What the owner answered, with what is dirty on top.
    pub(super) fn present(&self, mut attributes: Attributes) -> Attributes {
        self.accesses.overlay(&mut attributes);
        let Some(file) = self.files.peek(attributes.inode) else { return attributes };
        let mut state = file.lock();
        if let Some(newer) = self.names.attributes(attributes.inode)
            && newer.change > attributes.change
        {
            attributes = newer;
            self.accesses.overlay(&mut attributes);
        }
        state.follow(&attributes);
        if state.recall.is_dropping() {
            // It is forgotten with the rest; until then reads go on.
            state.know(&attributes);
        }
        state.overlay(&mut attributes);
        attributes
    }

    /// Changes attributes of a file whose bytes wait to be committed: with these. As
    /// [`set_attributes`](Self::set_attributes).
    pub fn try_set_attributes(
        &self,
        inode: Inode,
        changes: &AttributeChanges,
    ) -> Option<Result<Attributes, FsError>> {
        if !self.session.is_serving() || self.session.is_read_only() {
            return None;
        }
        if changes.accessed.is_some() {
            self.accesses.forget(inode);
        }
        let file = self.files.peek(inode)?;
        let mut state = file.lock();
        let mut attributes = self.names.attributes(inode)?;
        state.overlay(&mut attributes);
        // After a failure nobody knows how long the bytes will wait.
        let waits =
            state.dirty.dirty() > 0 && !state.is_resizing() && !state.careful && self.may_write(&state);
        if !waits || !Held::may_hold(changes, &attributes, state.size > 0) {
            return None;
        }
        state.held.add(changes, self.backend.now());
        if changes.modified.is_some() {
            state.modified = None;
        }
        state.overlay(&mut attributes);
        Some(Ok(attributes))
    }

    /// Changes attributes, the length among them. Durable when answered; but of a file with bytes that are not committed
    /// yet it may become durable with these: by an fsync, before a rename or link, after 5 s.
    ///
    /// # Errors
    /// What the owner refuses; any of [`FsError`] when it cannot be asked.
    pub async fn set_attributes(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        changes: AttributeChanges,
    ) -> Result<Attributes, FsError> {
        if let Some(held) = self.try_set_attributes(inode, &changes) {
            return held;
        }
        let (core, begun) = (Arc::clone(self), Instant::now());
        self.complete(async move { core.change_attributes(caller, inode, changes, begun).await }).await
    }

    async fn change_attributes(
        self: &Arc<Self>,
        caller: Caller,
        inode: Inode,
        changes: AttributeChanges,
        begun: Instant,
    ) -> Result<Attributes, FsError> {
        let (size, sets_time) = (changes.size, changes.modified.is_some());
        let file = if size.is_some() || sets_time || self.holds_back(inode) {
            let attributes = self.attributes(inode).await?;
            (attributes.kind == FileKind::File).then(|| self.files.pin(&attributes))
        } else {
            None
        };
        let resize = file.as_ref().filter(|_| size.is_some()).map(Resize::begin);
        // A commit on its way must neither follow a shorter length nor an explicit time that was set after it.
        let order = match &file {
            Some(file) => Some(file.order.lock().await),
            None => None,
        };
        // Its caller was told that it failed: what was not begun does not happen behind its back.
        if begun.elapsed() >= OPERATION_MAX {
            return Err(FsError::TimedOut);
        }
        let change = self.names.change([inode]);
        let changes = match &file {
            Some(file) => self.with_held(file, changes).await?,
            None => changes,
        };
        let op = MetaOp::SetAttributes { inode, changes };
        let answer = self.session.meta(caller, op).await.and_then(stamped_attributes);
        if let (Err(error), Some(file)) = (&answer, &file) {
            let mut state = file.lock();
            state.held_came_back();
            if let Some(size) = size.filter(|_| !matches!(error, FsError::Refused(_))) {
                // It may have been done.
                state.map.forget(size..u64::MAX);
            }
        }
        let (stamp, attributes) = answer?;
        self.names.set_attributes(stamp, &attributes);
        drop(change);
        if let Some(file) = &file {
            let mut state = file.lock();
            state.follow(&attributes);
            state.held_arrived();
            if size.is_some() || sets_time {
                state.modified = None;
            }
            if let Some(size) = size {
                self.cut(inode, &mut state, size);
            }
        }
        drop(order);
        drop(resize);
        Ok(self.present(attributes))
    }

    /// A file has another length: what is known of it beyond that is gone.
    fn cut(&self, inode: Inode, state: &mut FileState, size: u64) {
        let gone = state.dirty.truncate(size);
        self.room.count(state);
        if state.dirty.dirty() == 0 {
            state.since = None;
        }
        state.map.truncate(size);
        if let Some(last) = size.checked_sub(1).filter(|last| state.map.may_be_stump(*last)) {
            self.windows().suspect(inode, last, 0, Instant::now());
        }
        self.memory.dirty.give_back(gone);
    }

    /// Before a change of a file of which no bytes are on their way: what is held back goes before it, or with a change of
    /// the length, which may use room that is kept for it.
    async fn with_held(&self, file: &File, changes: AttributeChanges) -> Result<AttributeChanges, FsError> {
        if changes.size.is_some() {
            return Ok(file.lock().held_departs().with_length(changes));
        }
        self.release_held(file).await?;
        Ok(changes)
    }

    /// Whether attributes of a file wait for its bytes.
    fn holds_back(&self, inode: Inode) -> bool {
        let file = self.files.peek(inode);
        file.is_some_and(|file| {
            let state = file.lock();
            !state.held.is_empty() || !state.flight_held.is_empty()
        })
    }

    /// Sends what is held back by itself: what follows must not be overtaken by it.
    async fn release_held(&self, file: &File) -> Result<(), FsError> {
        let Some(changes) = file.lock().held_departs().changes() else { return Ok(()) };
        let op = MetaOp::SetAttributes { inode: file.inode, changes };
        match self.session.meta(Caller::default(), op).await.and_then(stamped_attributes) {
            Ok((stamp, attributes)) => {
                self.names.set_attributes(stamp, &attributes);
                let mut state = file.lock();
                state.follow(&attributes);
                state.held_arrived();
                Ok(())
            }
            Err(error) => {
                file.lock().held_came_back();
                Err(error)
            }
        }
    }

    /// Room of the filesystem, net of parity, of tags and padding, of spare, of a reserve for compaction, of what is not committed yet, and of what was committed so
    /// lately that the drives' accounts may lack it.
    ///
    /// # Errors
    /// Any of [`FsError`] when the owner cannot be asked.
    pub async fn space(self: &Arc<Self>) -> Result<Space, FsError> {
        self.session.serving().await?;
        let mut space = self.poll_space().await?;
        // Dirty first: what is committed meanwhile is counted twice rather than not at all.
        let pending = self.room.pending(self.memory.dirty.held());
        let full = self.full.load(Ordering::Relaxed);
        let left = if full { 0 } else { self.room.left().saturating_sub(pending) };
        space.capacity = ByteCount::new(Room::fits(space.capacity.get()));
        space.free = ByteCount::new(Room::fits(left)).min(space.capacity);
        Ok(space)
    }
}
