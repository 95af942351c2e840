//! Threads beside the one that serves: one reads and writes indexes, one looks after extents.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A thread with an event loop of its own.
pub(crate) struct LocalThread {
    /// `None` once it is stopped.
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: mpsc::UnboundedSender<Job>,
    thread: JoinHandle<()>,
}

impl LocalThread {
    /// Starts it.
    ///
    /// # Errors
    /// The host gives no thread, or no event loop.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (jobs, mut todo) = mpsc::unbounded_channel::<Job>();
        let main = move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                while let Some(job) = todo.recv().await {
                    // It ends by itself, or with the thread.
                    drop(tokio::task::spawn_local(job()));
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(main)?;
        Ok(Self { running: Mutex::new(Some(Running { jobs, thread })) })
    }

    /// Runs a task on it. Nothing happens when the thread has ended.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(&self, task: impl FnOnce() -> F + Send + 'static) {
        let job: Job = Box::new(move || Box::pin(task()));
        let sent = self.running().as_ref().is_some_and(|running| running.jobs.send(job).is_ok());
        if !sent {
            tracing::error!("a task was given to a thread that has ended");
        }
    }

    /// Ends it: its tasks end where they stand. Blocks.
    pub(crate) fn stop(&self) {
        let running = self.running().take();
        if let Some(Running { jobs, thread }) = running {
            drop(jobs);
            // Of what it panicked, the panic hook has told.
            let _ = thread.join();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_beside_each_other_until_it_is_stopped() {
        let thread = LocalThread::start("test").expect("starts");
        let (first, second) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        thread.spawn(move || async move {
            gone.await.expect("the other task tells");
            first.0.send(()).expect("somebody waits");
        });
        thread.spawn(move || async move {
            go.send(()).expect("the other task waits");
            second.0.send(()).expect("somebody waits");
        });
        first.1.recv().expect("the first went on");
        second.1.recv().expect("the second went on");
        let held = std::sync::Arc::new(());
        let task = std::sync::Arc::clone(&held);
        thread.spawn(move || async move {
            let _task = task;
            std::future::pending::<()>().await;
        });
        thread.stop();
        assert_eq!(std::sync::Arc::strong_count(&held), 1, "what did not end was dropped");
    }
}
