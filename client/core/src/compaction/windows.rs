//! Which parts of which files may be worth a compaction: small extents are counted per window of a file.

use core::ops::Range;
use core::time::Duration;

use tokio::time::Instant;
use weft_types::Inode;
use weft_wire::meta::MapEntry;

use crate::recent::Recent;

/// A window is what one extent can hold.
pub(crate) const WINDOW_BYTES: u64 = 4 << 20;
/// Shorter extents are small.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;
/// So many small extents are worth a compaction when the window has been left alone for a while.
pub(crate) const FEW: u32 = 8;
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// So many are, when it was left alone for a moment.
const MANY: u32 = 64;
const MOMENT: Duration = Duration::from_secs(1);
/// So many are, whatever is going on: of blocks of 4 KiB, half of what is written then is new.
const EXTREME: u32 = 512;
/// The mount is quiet when nothing was committed for so long: compaction takes no time from anybody then.
const QUIET: Duration = Duration::from_secs(3);
/// While it is not, so many bytes are rewritten for each that is committed in small extents: beside windows with very
/// many, which pay for themselves.
const GAIN: u64 = 1;
/// Bytes to be rewritten that are saved up at most.
const CREDIT_MAX: u64 = 64 << 20;
/// So many small runs in a window are noticed when its map is read.
const SCATTERED: usize = 32;
/// Windows that are remembered, and at most twice as many.
const REMEMBERED: usize = 1 << 14;

/// A window of a file: its inode, and the window's number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WindowKey {
    pub(crate) inode: Inode,
    pub(crate) number: u64,
}

impl WindowKey {
    /// The file bytes it is about.
    pub(crate) const fn range(self) -> Range<u64> {
        let start = self.number.saturating_mul(WINDOW_BYTES);
        start..start.saturating_add(WINDOW_BYTES)
    }
}

/// A window that is to be compacted, and its small extents when it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: WindowKey,
    small: u32,
}

impl Due {
    /// Whether it cannot wait until the window is left alone.
    pub(crate) const fn is_extreme(self) -> bool {
        self.small >= EXTREME
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// Small extents since the last compaction.
    small: u32,
    changed: Instant,
    /// Not looked at before.
    after: Instant,
}

impl Window {
    fn is_due(&self, now: Instant) -> bool {
        let alone = now.saturating_duration_since(self.changed);
        let due = match self.small {
            EXTREME.. => true,
            MANY.. => alone >= MOMENT,
            FEW.. => alone >= LEFT_ALONE,
            _ => false,
        };
        due && now >= self.after
    }
}

const fn window_of(entry: &MapEntry) -> u64 {
    entry.offset.get() / WINDOW_BYTES
}

/// Counts of the windows written last. A window that is forgotten is found again when it is read.
#[derive(Debug)]
pub(crate) struct Windows {
    recent: Recent<WindowKey, Window>,
    /// When anything was committed last.
    committed: Option<Instant>,
    /// Bytes that may be rewritten while others write.
    credit: u64,
}

impl Windows {
    pub(crate) fn new() -> Self {
        Self { recent: Recent::new(REMEMBERED), committed: None, credit: 0 }
    }

    /// An extent was committed.
    pub(crate) fn committed(&mut self, inode: Inode, offset: u64, len: u64, now: Instant) {
        self.committed = Some(now);
        if len < SMALL_BYTES {
            self.credit = self.credit.saturating_add(len * GAIN).min(CREDIT_MAX);
        }
        let (first, last) = (offset / WINDOW_BYTES, (offset + len.max(1) - 1) / WINDOW_BYTES);
        for number in first..=last {
            let key = WindowKey { inode, number };
            if len < SMALL_BYTES {
                let window = self.window(key, now);
                window.small = window.small.saturating_add(1);
                window.changed = now;
            } else if let Some(window) = self.recent.get(&key) {
                window.changed = now;
            }
        }
    }

    /// The window that holds this byte may be worth a look: small extents were seen there, or dead ones.
    pub(crate) fn suspect(&mut self, inode: Inode, at: u64, small: u32, now: Instant) {
        let window = self.window(WindowKey { inode, number: at / WINDOW_BYTES }, now);
        window.small = window.small.max(small.max(FEW));
    }

    /// A page of a file's map was read: windows with very many runs are worth a look.
    pub(crate) fn look_at(&mut self, inode: Inode, entries: &[MapEntry], now: Instant) {
        for window in entries.chunk_by(|a, b| window_of(a) == window_of(b)) {
            let small = window.iter().filter(|entry| u64::from(entry.len) < SMALL_BYTES).count();
            if small >= SCATTERED {
                let small = u32::try_from(small).unwrap_or(u32::MAX);
                self.suspect(inode, window[0].offset.get(), small, now);
            }
        }
    }

    /// Whether something was committed a moment ago.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        self.committed.is_some_and(|at| now.saturating_duration_since(at) < MOMENT)
    }

    /// Whether nobody has committed anything for a while.
    fn is_quiet(&self, now: Instant) -> bool {
        self.committed.is_none_or(|at| now.saturating_duration_since(at) >= QUIET)
    }

    /// The window with the most small extents of those that are due, the first of equals. Its count starts anew. While
    /// others write, it is one that is worth what it costs.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let due = self.recent.iter().filter(|(_, window)| window.is_due(now));
        let most = due.max_by_key(|(key, window)| (window.small, core::cmp::Reverse(**key)));
        let (key, small) = most.map(|(key, window)| (*key, window.small))?;
        if small < EXTREME && !self.is_quiet(now) {
            self.credit = self.credit.checked_sub(WINDOW_BYTES)?;
        }
        self.recent.remove(&key);
        Some(Due { key, small })
    }

    /// The window could not be compacted now.
    pub(crate) fn postpone(&mut self, due: Due, pause: Duration, now: Instant) {
        let window = self.window(due.key, now);
        window.small = window.small.saturating_add(due.small);
        window.after = now + pause;
    }

    fn window(&mut self, key: WindowKey, now: Instant) -> &mut Window {
        if self.recent.get(&key).is_none() {
            self.recent.insert(key, Window { small: 0, changed: now, after: now });
        }
        self.recent.get(&key).expect("it was just put there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: Inode = Inode::new(7);

    fn number(due: Option<Due>) -> Option<u64> {
        due.map(|due| due.key.number)
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_small_extents_the_sooner_a_window_is_due() {
        let mut windows = Windows::new();
        let begun = Instant::now();
        for (window, count) in [(0, 7), (1, 8), (2, 64), (3, 512)] {
            (0..count).for_each(|i| windows.committed(INODE, window * WINDOW_BYTES + i * 4096, 4096, begun));
        }
        assert!(windows.is_busy(begun));
        assert_eq!(number(windows.take_due(begun)), Some(3));
        assert_eq!(windows.take_due(begun), None);
        assert_eq!(windows.take_due(begun + MOMENT), None, "not while others write");
        assert_eq!(number(windows.take_due(begun + QUIET)), Some(2));
        assert_eq!(windows.take_due(begun + QUIET), None);
        assert!(!windows.is_busy(begun + MOMENT));
        assert_eq!(number(windows.take_due(begun + LEFT_ALONE)), Some(1));
        assert_eq!(windows.take_due(begun + LEFT_ALONE * 100), None, "seven are not worth it");
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_write_what_is_rewritten_is_limited_by_what_was_written() {
        let mut windows = Windows::new();
        let mut now = Instant::now();
        let (mut written, mut rewritten) = (0, 0);
        for round in 0..1000_u64 {
            // Each window gets a few at a time, and is left alone for a moment then.
            (0..80).for_each(|i| windows.committed(INODE, round % 50 * WINDOW_BYTES + i * 4096, 4096, now));
            written += 80 * 4096;
            now += MOMENT / 10;
            while windows.take_due(now).is_some() {
                rewritten += WINDOW_BYTES;
            }
        }
        assert!(rewritten > 0, "the map stays bounded");
        assert!(rewritten <= written * 3, "{rewritten} of {written}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_extents_do_not_count_and_one_across_a_border_counts_on_both_sides() {
        let mut windows = Windows::new();
        let now = Instant::now();
        for _ in 0..512 {
            windows.committed(INODE, 0, SMALL_BYTES, now);
            windows.committed(INODE, WINDOW_BYTES * 2 - 1, 2, now);
        }
        assert_eq!(number(windows.take_due(now)), Some(1));
        assert_eq!(number(windows.take_due(now)), Some(2));
        assert_eq!(windows.take_due(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_is_postponed_comes_back_and_counts_are_bounded() {
        let mut windows = Windows::new();
        let now = Instant::now();
        windows.suspect(INODE, 5, 600, now);
        let due = windows.take_due(now).expect("due");
        assert!(due.is_extreme());
        windows.postpone(due, Duration::from_secs(30), now);
        assert_eq!(windows.take_due(now + Duration::from_secs(29)), None);
        assert_eq!(windows.take_due(now + Duration::from_secs(30)), Some(due));
        (0..100_000).for_each(|window| windows.committed(INODE, window * WINDOW_BYTES, 1, now));
        assert!(windows.recent.iter().count() <= 2 * REMEMBERED);
    }
}
