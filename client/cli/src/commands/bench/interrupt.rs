//! Signals that end a bench in good order.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use weft_bench::Stop;

/// From here on SIGINT, SIGTERM and SIGHUP do not end this program: they tell the bench to end.
///
/// # Errors
/// What the host says when it takes no handler.
pub(super) fn stop_on_signals() -> io::Result<Stop> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] =
        [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?];
    drop(entered);
    let stop = Stop::default();
    let told = stop.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        told.now();
    })?;
    Ok(stop)
}
