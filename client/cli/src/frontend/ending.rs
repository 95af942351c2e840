//! How a mount ends: unmounted by anyone, told to by a signal, or because the filesystem does not take it any more.

use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use weft_core::Unwritten;
use weft_resources::Phase;

use super::{Claim, FrontendError, SharedCore};
use crate::error::with_next_step;
use crate::host::mounts;

/// How long unwritten data may take to be written when the filesystem is unmounted.
pub(crate) const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// How long writing may stand still before what is left is told.
pub(crate) const STALL_PATIENCE: Duration = Duration::from_secs(10);
/// How often the unwritten bytes are looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(10);

/// What has to be done once before the process ends.
pub(super) struct Ending {
    core: SharedCore,
    claim: Claim,
    finished: Mutex<Option<Result<(), Unwritten>>>,
}

impl Ending {
    pub(super) fn new(core: SharedCore, claim: Claim) -> Self {
        Self { core, claim, finished: Mutex::new(None) }
    }

    /// Writes what is unwritten and closes the session. Who comes second is told what the first was.
    ///
    /// # Errors
    /// [`FrontendError::Lost`]
    pub(super) fn finish(&self) -> Result<(), FrontendError> {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = finished.get_or_insert_with(|| {
            // The state is for those who look: without it, nothing else changes.
            let _ = self.claim.write(Phase::Stopping);
            self.core.runtime().block_on(self.core.unmount(FLUSH_PATIENCE))
        });
        let at = self.claim.at().to_owned();
        outcome.clone().map_err(|source| FrontendError::Lost { at, source })
    }

    fn has_begun(&self) -> bool {
        self.finished.try_lock().map_or(true, |finished| finished.is_some())
    }

    /// Heeds what the mount was changed to, waits until everything is written, for as long as that goes on, and says in a
    /// file what is left.
    fn write_now(&self) {
        if let Some(mount) = self.claim.mount() {
            self.core.keep_access_times(!mount.has("noatime") && !mount.has("ro"));
        }
        let unwritten = || self.core.counts().dirty_bytes;
        let mut least = unwritten();
        let mut progress = Instant::now();
        while least > 0 && progress.elapsed() < STALL_PATIENCE {
            std::thread::sleep(GLANCE);
            let now = unwritten();
            if now < least {
                (least, progress) = (now, Instant::now());
            }
        }
        if let Err(error) = self.claim.tell_unwritten(unwritten()) {
            tracing::error!(%error, "cannot say how much is unwritten");
        }
    }

    /// Takes the mount away, so that serving ends. True when that is under way; false when files are open.
    fn unmount(&self) -> bool {
        let at = self.claim.at();
        match mounts::unmount(at) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, at = %at.display(), "told to end, but the mount is in use: it stays");
                false
            }
        }
    }

    fn is_mounted(&self) -> bool {
        self.claim.mount().is_some()
    }

    /// Ends the process though the kernel still serves open files: the mount was detached before.
    fn end_process(&self) -> ! {
        let code = match self.finish() {
            Ok(()) => {
                let _ = self.claim.remove();
                0
            }
            Err(error) => {
                let line = with_next_step(&error, error.next_step());
                tracing::error!("{line}");
                let _ = self.claim.write(Phase::Failed(line));
                1
            }
        };
        std::process::exit(code)
    }

    /// Nothing of the filesystem can be served any more: applications are told so, and another mount may be made.
    fn end_without_session(&self) -> ! {
        let why =
            self.core.refused().map_or_else(|| "it was closed".to_owned(), |refusal| refusal.to_string());
        let line = format!("the mount has no session any more: {why}; see `weft fs list`");
        tracing::error!("{line}");
        let _ = self.claim.write(Phase::Failed(line));
        if self.is_mounted() {
            let _ = mounts::detach(self.claim.at());
        }
        std::process::exit(1)
    }
}

/// What a mount is told.
enum Told {
    ToEnd,
    ToWrite,
    SessionEnded,
}

/// Ends the mount on SIGTERM and SIGINT, and when there will be no session any more, on a thread of its own.
///
/// # Errors
/// [`FrontendError::Signals`]
pub(super) fn watch(ending: Arc<Ending>) -> Result<(), FrontendError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FrontendError::Signals)?;
    let signals = {
        let _entered = runtime.enter();
        Signals::new().map_err(FrontendError::Signals)?
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || watch_on(&runtime, signals, &ending)).map(drop).map_err(FrontendError::Signals)
}

fn watch_on(runtime: &Runtime, mut signals: Signals, ending: &Ending) {
    loop {
        let told = runtime.block_on(async {
            tokio::select! {
                told = signals.next() => told,
                () = ending.core.ended() => Told::SessionEnded,
            }
        });
        match told {
            Told::ToWrite => ending.write_now(),
            Told::SessionEnded if ending.has_begun() => return,
            Told::SessionEnded => ending.end_without_session(),
            Told::ToEnd if !ending.is_mounted() => ending.end_process(),
            Told::ToEnd => {
                if ending.unmount() {
                    return;
                }
            }
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    write: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            write: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::ToEnd,
            _ = self.interrupt.recv() => Told::ToEnd,
            _ = self.write.recv() => Told::ToWrite,
        }
    }
}
