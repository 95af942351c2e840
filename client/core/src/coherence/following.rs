//! A session that was cut off is over for ever. The mount goes on with another one: nothing of what was remembered holds, and
//! of what was not committed it is found out whether it still counts.

use core::time::Duration;
use std::sync::{Arc, Weak};

use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};
use weft_types::Inode;
use weft_wire::coherence::{Stamp, Term};
use weft_wire::compute::{OpenRefusal, OpenSession};
use weft_wire::meta::{Caller, MetaError, MetaOp, MetaReply, Opened};

use super::fate::{Fate, fate};
use crate::backend::Failure;
use crate::dirty::Take;
use crate::file::Pinned;
use crate::recall::Recall;
use crate::session::{ATTEMPT, PAUSE_MAX, PAUSE_MIN};
use crate::{Core, FsError};

/// Files that the owner is asked about at once.
const JUDGED_AT_ONCE: usize = 8;
/// Between two questions about one that was not answered.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens another session whenever one is over, until the mount has ended.
pub(crate) async fn follow(core: Weak<Core>) {
    let Some(session) = core.upgrade().map(|core| Arc::clone(&core.session)) else { return };
    loop {
        let goes_on = session.lost().await;
        let Some(core) = core.upgrade() else { return };
        core.cut_off();
        if !goes_on {
            // What is dirty has nowhere to go.
            core.kick_all();
            return;
        }
        core.open_another().await;
    }
}

/// Whether it would be the same at any later time.
const fn is_final(refusal: &OpenRefusal) -> bool {
    match refusal {
        OpenRefusal::NoSuchFilesystem | OpenRefusal::NotYours | OpenRefusal::Deleting => true,
        OpenRefusal::KeysUnavailable { .. } | OpenRefusal::MetadataUnavailable { .. } => false,
    }
}

impl Core {
    /// The session is over: nothing that was remembered or locked under it counts, and what it kept is collected.
    fn cut_off(self: &Arc<Self>) {
        // Answers that are on their way are not remembered.
        self.names.begin_term(Term::default());
        let files = self.files.pinned();
        for file in &files {
            let mut state = file.lock();
            // The newest that is known of it: its own names and owner may have been changed since bytes were committed.
            if let Some(known) = self.names.attributes(file.inode) {
                state.follow(&known);
            }
            state.lose_session();
        }
        for inode in self.references.take_orphans() {
            if let Some(file) = self.files.find(inode) {
                file.set_gone();
            }
        }
        self.names.clear();
        self.files.clear_idle();
        self.locks.lose_all();
        files.iter().for_each(|file| file.progress.send_modify(|count| *count += 1));
    }

    /// Asks for another session until there is one, or none is wanted.
    async fn open_another(self: &Arc<Self>) {
        tracing::warn!(session = %self.session.id(), "the session is over: the mount was cut off for too long");
        let call = OpenSession {
            filesystem: self.labels.filesystem.clone(),
            read_only: self.session.is_read_only(),
            holder: self.labels.holder.clone(),
            replaces: Some(self.session.id()),
        };
        let mut pause = PAUSE_MIN;
        while self.session.goes_on() {
            let asked = Instant::now();
            match self.backend.open(call.clone(), ATTEMPT).await {
                Ok(opened) if opened.filesystem != self.session.filesystem() => {
                    // Another one has the name by now.
                    self.session.close_other(opened.session).await;
                    return self.refuse(OpenRefusal::NoSuchFilesystem);
                }
                Ok(opened) => {
                    self.grants.follow(opened.grant.clone());
                    if !self.session.goes_on() || !self.session.follow(&opened, asked) {
                        self.session.close_other(opened.session).await;
                    }
                    return;
                }
                Err(Failure::Refused(refusal)) if is_final(&refusal) => return self.refuse(refusal),
                Err(error) => tracing::debug!(?error, "no other session was opened yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn refuse(&self, refusal: OpenRefusal) {
        tracing::error!(%refusal, "no other session is opened: the mount ends");
        self.session.end_for_good(Some(refusal));
    }

    /// After another session has taken its place: files that were in use before are as the owner has them, but for what was
    /// written here and still counts.
    pub(super) async fn settle(self: Arc<Self>, files: Vec<Pinned>) {
        let inodes: Vec<Inode> = files.iter().map(|file| file.inode).collect();
        let judged = stream::iter(files).for_each_concurrent(JUDGED_AT_ONCE, |file| {
            let core = Arc::clone(&self);
            async move {
                core.judge(&file).await;
                core.find_gone(&file).await;
            }
        });
        // Only now: the kernel may wait for pages that it has asked for, and they are served again.
        let dropped =
            self.tell_kernel(move |kernel| inodes.into_iter().for_each(|inode| kernel.forget_data(inode)));
        join(judged, dropped).await;
    }

    /// A file that is open and lost its last name while it was not said to be open here is kept by nobody on our behalf.
    async fn find_gone(self: &Arc<Self>, file: &Pinned) {
        if file.lock().handles == 0 {
            return;
        }
        let gone = match self.attributes(file.inode).await {
            // Since this session began it is said to be open: what is removed since is an orphan of it.
            Ok(found) => found.links == 0 && !self.references.is_orphan(file.inode),
            Err(error) => error == FsError::Refused(MetaError::NotFound),
        };
        if gone {
            file.set_gone();
            tracing::warn!(inode = %file.inode, "an open file was removed while the mount was cut off");
        }
    }

    /// Finds out what becomes of the bytes of a file.
    async fn judge(self: &Arc<Self>, file: &Pinned) {
        // No flight is under way, and none begins: what comes back is judged, too.
        let _order = file.order.lock().await;
        while let Some(known) = { file.lock().unjudged } {
            let session = self.session.id();
            let Ok(found) = self.ask_to_hold(file.inode).await else {
                if self.session.has_ended() {
                    return;
                }
                sleep(PAUSE).await;
                continue;
            };
            let stale = |stamp: &Stamp| stamp.term != self.session.place().term;
            let is_stale = matches!(&found, Ok(Some((stamp, _))) if stale(stamp));
            if self.session.is_over(session) || is_stale {
                continue;
            }
            let fate = match &found {
                Ok(found) => fate(known, found.as_ref().map(|(_, opened)| &opened.attributes)),
                // What the owner cannot tell of cannot be vouched for.
                Err(refusal) => {
                    tracing::warn!(inode = %file.inode, %refusal, "what was written before cannot be compared");
                    Fate::Lost
                }
            };
            match fate {
                Fate::Kept => self.keep(file, found.ok().flatten()),
                Fate::Lost => self.give_up(file, FsError::Lost),
                Fate::Gone => {
                    file.set_gone();
                    self.give_up(file, FsError::Stale);
                }
            }
            file.progress.send_modify(|count| *count += 1);
        }
    }

    /// Asks for the right to hold back what is written to a file, with what the owner knows of it; `None`: there is no such
    /// file. What else the owner refuses is said inside.
    async fn ask_to_hold(&self, inode: Inode) -> Result<Result<Option<(Stamp, Opened)>, MetaError>, FsError> {
        match self.session.meta(Caller::default(), MetaOp::Write { inode }).await {
            Ok(done) => match done.reply {
                MetaReply::Opened(opened) => Ok(Ok(Some((done.stamp, opened)))),
                _ => Err(FsError::Protocol),
            },
            Err(FsError::Refused(MetaError::NotFound)) => Ok(Ok(None)),
            Err(FsError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error) => Err(error),
        }
    }

    fn keep(self: &Arc<Self>, file: &Pinned, found: Option<(Stamp, Opened)>) {
        let bytes = {
            let mut state = file.lock();
            (state.unjudged, state.recall) = (None, Recall::None);
            state.dirty.held()
        };
        if let Some((stamp, opened)) = found {
            self.names.set_attributes(stamp, &opened.attributes);
            // If it is recalled already, that waits until they are committed.
            self.may_hold_writing(file, stamp, &opened);
        }
        tracing::info!(inode = %file.inode, bytes, "bytes from before are kept: nobody has changed the file");
        self.kick(file, Take::All);
    }

    /// Bytes are lost: whoever has the file open is told once, by the next write, fsync or close; else who unmounts.
    fn give_up(&self, file: &Pinned, error: FsError) {
        {
            let mut state = file.lock();
            (state.unjudged, state.recall) = (None, Recall::None);
            state.failures += 1;
            state.failures_at_loss = state.failures;
        }
        let bytes = self.drop_dirty(file, error);
        tracing::warn!(inode = %file.inode, bytes, %error, "bytes from before the mount was cut off are lost");
        let told = {
            let mut state = file.lock();
            let open = state.handles > 0;
            state.untold_loss += if open { bytes } else { 0 };
            open
        };
        if !told {
            self.lose(bytes, error);
        }
    }
}
