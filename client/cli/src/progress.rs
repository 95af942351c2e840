//! What a person sees while something takes long. Nothing when standard error is not a terminal.

use core::time::Duration;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is under way; gone when dropped.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Begins.
    pub(crate) fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(what.to_owned());
        Self(Some(bar))
    }

    /// Begins nothing that anybody sees, where the person is told in another way.
    pub(crate) const fn hidden() -> Self {
        Self(None)
    }

    /// Begins something of so many steps.
    pub(crate) fn steps(what: &str) -> Self {
        let progress = Self::new(what);
        if let (Some(bar), Ok(style)) =
            (&progress.0, ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} {msg} ({elapsed})"))
        {
            bar.set_style(style.progress_chars("=> "));
        }
        progress
    }

    /// So many steps of all are done.
    pub(crate) fn done(&self, done: usize, all: usize) {
        if let Some(bar) = &self.0 {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    }

    /// Goes on to something else.
    pub(crate) fn now(&self, what: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.into());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
