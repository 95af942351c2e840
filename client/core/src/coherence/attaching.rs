//! Taking a place among the sessions of a filesystem.

use std::sync::{Arc, Weak};

use tokio::time::sleep;
use weft_types::Inode;
use weft_wire::coherence::{ATTACH_MAX, Hold, HoldMode, Term};

use crate::Core;
use crate::file::Pinned;
use crate::mounted::TTL_MAX;
use crate::recall::Writing;

/// Takes a place whenever the session has none.
pub(crate) async fn attach(core: Weak<Core>) {
    let Some(session) = core.upgrade().map(|core| Arc::clone(&core.session)) else { return };
    while session.detached().await {
        let Some(core) = core.upgrade() else { return };
        core.attach_anew().await;
    }
}

impl Core {
    /// Forgets what is not held, and takes a place with the rest.
    async fn attach_anew(self: &Arc<Self>) {
        let (session, follows) = (self.session.id(), self.session.follows_another());
        let was_alone = self.session.is_alone() || follows;
        self.session.leave_place();
        // Answers that are on their way are not remembered.
        self.names.begin_term(Term::default());
        let files = self.files.pinned();
        let holds = self.holds(&files, follows);
        self.all_told();
        // What has come from a kernel's hands is held: it may wait for a page that it has asked for.
        self.names.clear();
        self.files.clear_idle();
        self.forget_in_kernel(was_alone, &holds).await;
        let Ok(place) = self.session.attach(session, holds).await else { return };
        self.names.begin_term(place.term);
        if !self.session.take_place(session, place) {
            return;
        }
        tracing::info!(%session, follows, term = ?place.term, alone = place.alone, "attached");
        files.iter().for_each(|file| file.progress.send_modify(|count| *count += 1));
        if follows {
            self.runtime.spawn(Arc::clone(self).settle(files));
        }
    }

    /// What is held of files in use: what is not committed, the right to hold it back; of what is open, its data. Whoever wants
    /// to write more asks for that. `follows`: what another session held is not this one's.
    fn holds(&self, files: &[Pinned], follows: bool) -> Vec<Hold> {
        let mut holds = Vec::new();
        // What is not committed comes first: there may be more than can be told.
        let dirty = |file: &&Pinned| !file.lock().dirty.is_clean();
        let (first, then): (Vec<_>, Vec<_>) = files.iter().partition(dirty);
        for file in first.into_iter().chain(then) {
            let mut state = file.lock();
            if follows || state.unjudged.is_some() {
                state.lose_session();
                let used = state.handles > 0 || !state.dirty.is_clean();
                if used && holds.len() < ATTACH_MAX {
                    holds.push(Hold { inode: file.inode, mode: HoldMode::Open });
                }
                continue;
            }
            state.forget_length();
            let writes = !state.dirty.is_clean() && holds.len() < ATTACH_MAX;
            state.writing = if writes { Writing::Kept } else { Writing::Not };
            let mode = if writes { HoldMode::Exclusive } else { HoldMode::Shared };
            if writes || (state.handles > 0 && holds.len() < ATTACH_MAX) {
                holds.push(Hold { inode: file.inode, mode });
            } else {
                state.forget();
            }
        }
        holds
    }

    /// The kernel forgets all names and attributes, and the data of what is not held.
    async fn forget_in_kernel(&self, was_alone: bool, holds: &[Hold]) {
        let held: std::collections::HashSet<Inode> = holds.iter().map(|hold| hold.inode).collect();
        let known = self.references.all();
        let forgot = self.tell_kernel(move |kernel| {
            let forgot = kernel.forget_names();
            for inode in known {
                if held.contains(&inode) {
                    kernel.forget_attributes(inode);
                } else {
                    kernel.forget_data(inode);
                }
            }
            forgot
        });
        if forgot.await == Some(false) && was_alone {
            // It was told how long it may believe them.
            sleep(TTL_MAX).await;
        }
    }
}
