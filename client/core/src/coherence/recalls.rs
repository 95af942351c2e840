//! Recalls: what another session is about to change is forgotten here first.

use core::time::Duration;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::{sleep, timeout};
use weft_types::{Inode, SessionId};
use weft_wire::coherence::{Ack, AckRecalls, Recall as Recalled, Term, WatchRecalls, What};

use super::{DROPPED_LATEST, DROPPED_SOON};
use crate::Core;
use crate::backend::Failure;
use crate::file::Pinned;
use crate::recall::{Recall, Writing};

/// A call for recalls is held at the owner; longer than it holds one.
const WATCH: Duration = Duration::from_secs(8);
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// How long those have who read or write a file that is recalled.
const USES_MAX: Duration = Duration::from_millis(20);
/// How long another recall of the same file may be under way.
const TURN: Duration = Duration::from_secs(60);

/// Asks for recalls, one call after the other.
pub(crate) async fn watch(core: Weak<Core>) {
    let (mut term, mut after) = (Term::default(), 0);
    loop {
        let Some(core) = core.upgrade().filter(|core| !core.session.has_ended()) else { return };
        if core.session.serving().await.is_err() {
            continue;
        }
        let place = core.session.place();
        if place.term != term {
            (term, after) = (place.term, 0);
        }
        let (filesystem, session) = (core.session.filesystem(), core.session.id());
        let asked = core.backend.recalls(WatchRecalls { filesystem, session, term, after }, WATCH);
        let over = core.session.over(session);
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            () = over => continue,
        };
        match answer {
            // Numbers of an earlier term say nothing in this one.
            Ok(_) if !core.session.is_under(term) => {}
            Ok(recalls) => {
                if recalls.attach {
                    core.session.detach(term);
                }
                for recall in recalls.recalls {
                    after = after.max(recall.number);
                    // Before any answer that is from after it is looked at.
                    core.names.recall(recall.inode, recall.number);
                    core.runtime.spawn(Arc::clone(&core).done_with(session, term, recall));
                }
            }
            Err(Failure::Refused(_)) => core.session.end(session),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

impl Core {
    async fn done_with(self: Arc<Self>, session: SessionId, term: Term, recall: Recalled) {
        let Recalled { number, inode, what } = recall;
        tracing::debug!(%inode, number, ?what, "recalled");
        let file = match &what {
            What::Name(name) => {
                self.names.forget_entry(inode, name.clone());
                self.names.forget_attributes(inode);
                None
            }
            What::Attributes => {
                self.names.forget_parent(inode);
                self.names.forget_attributes(inode);
                self.names.forget_xattrs(inode);
                None
            }
            What::Writing => {
                let file = self.files.find(inode);
                if let Some(file) = &file {
                    self.stop_writing(session, file, number).await;
                }
                file
            }
            What::All | What::Gone => self.forget_all(session, inode, number).await,
            What::Writers => {
                let file = self.files.peek(inode);
                // One that is being made may be this one.
                let making = self.creating.load(Ordering::Relaxed) > 0;
                let open = making || file.is_some_and(|file| file.lock().writers > 0);
                return self.acknowledge(term, Ack { number, open }).await;
            }
        };
        let open = file.as_ref().is_some_and(|file| {
            let state = file.lock();
            state.handles > 0 || !state.dirty.is_clean()
        });
        if open && what == What::Gone {
            self.references.may_be_orphaned(inode);
        }
        self.acknowledge(term, Ack { number, open }).await;
        tracing::debug!(%inode, number, open, "forgotten");
        // With another session it begins anew.
        if let Some(file) = file.filter(|_| !self.session.is_over(session)) {
            file.lock().recall = Recall::None;
            file.progress.send_modify(|count| *count += 1);
        }
    }

    /// Has the owner know, as long as the term lasts.
    async fn acknowledge(&self, term: Term, ack: Ack) {
        let (filesystem, session) = (self.session.filesystem(), self.session.id());
        let call = AckRecalls { filesystem, session, term, acks: vec![ack] };
        while self.session.is_under(term) {
            match self.backend.acknowledge(call.clone(), ACKNOWLEDGE).await {
                Ok(_) => return,
                Err(Failure::Refused(_)) => return self.session.end(session),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Gives those a moment who read or write a file just now.
    async fn uses_ended(&self, file: &Pinned) {
        let mut progress = file.progress.subscribe();
        file.lock().uses_awaited += 1;
        // Who does not come to an end may wait for this recall elsewhere.
        let _ = timeout(USES_MAX, progress.wait_for(|_| file.lock().uses == 0)).await;
        file.lock().uses_awaited -= 1;
    }

    /// What was held back is committed, and nothing is any more.
    async fn stop_writing(self: &Arc<Self>, session: SessionId, file: &Pinned, number: u64) {
        self.uses_ended(file).await;
        self.turn(session, file, Recall::Blocked).await;
        {
            let mut state = file.lock();
            if let Writing::Held(stamp) = state.writing
                && stamp.recalled >= number
            {
                // It was given anew, after this was recalled: that is recalled by itself.
                return;
            }
            state.writing = Writing::Not;
        }
        self.write_out(file).await;
    }

    /// Everything of an inode is forgotten; what was held back is committed before. The file, if it is one that is in memory.
    async fn forget_all(self: &Arc<Self>, session: SessionId, inode: Inode, number: u64) -> Option<Pinned> {
        let file = self.files.find(inode);
        if let Some(file) = &file {
            self.uses_ended(file).await;
            self.turn(session, file, Recall::Dropping { refilled: false }).await;
        }
        self.names.forget(inode);
        let mut patience = DROPPED_SOON;
        loop {
            if let Some(file) = &file {
                let mut state = file.lock();
                if self.session.is_over(session) {
                    break;
                }
                state.drops(patience);
            }
            self.tell_kernel(move |kernel| kernel.forget_data(inode)).await;
            let Some(file) = &file else { break };
            let mut state = file.lock();
            if self.session.is_over(session) {
                break;
            }
            if state.recall == (Recall::Dropping { refilled: false }) {
                state.recall = Recall::Blocked;
                break;
            }
            // Each took longer than newcomers waited: these outwait the next ones.
            patience = (patience * 2).min(DROPPED_LATEST);
        }
        let file = file?;
        let given_anew = {
            let mut state = file.lock();
            let newer = matches!(state.writing, Writing::Held(stamp) if stamp.recalled >= number);
            if !newer {
                state.writing = Writing::Not;
            }
            newer
        };
        file.progress.send_modify(|count| *count += 1);
        if !given_anew {
            self.write_out(&file).await;
            file.lock().forget();
        }
        self.names.forget(inode);
        Some(file)
    }

    /// Waits until no other recall of the file is under way; then this one is, unless its session is over.
    async fn turn(&self, session: SessionId, file: &Pinned, begins: Recall) {
        let mut progress = file.progress.subscribe();
        let mine = || {
            let mut state = file.lock();
            if self.session.is_over(session) {
                return true;
            }
            let free = state.recall.is_none();
            if free {
                state.recall = begins;
            }
            free
        };
        let waited = timeout(TURN, progress.wait_for(|_| mine())).await;
        if waited.is_err() {
            // The session has lost its place long before.
            file.lock().recall = begins;
        }
    }

    /// Commits what is dirty of a file, as long as there is a session for it.
    async fn write_out(self: &Arc<Self>, file: &Pinned) {
        let waits = || {
            let state = file.lock();
            !state.dirty.is_clean() && state.unjudged.is_none()
        };
        while waits() && !self.session.has_ended() {
            if let Err(error) = self.commit_all(file).await {
                tracing::warn!(inode = %file.inode, %error, "what another session waits for is not written yet");
                sleep(PAUSE).await;
            }
        }
    }
}
