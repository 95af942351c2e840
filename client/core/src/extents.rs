//! Decoded extents, and parts of them. They never change, so an entry is valid for ever.

use core::future::Future;
use core::ops::Range;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;
use weft_layout::MAX_EXTENT_BYTES;
use weft_types::ExtentId;

type Cell = Arc<OnceCell<Bytes>>;

/// An extent's plaintext, or a part of it. A part is for itself: it is not found in the whole, nor the whole by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slice {
    extent: ExtentId,
    /// Start and end; none for all of it.
    part: Option<(u32, u32)>,
}

impl Slice {
    pub(crate) const fn new(extent: ExtentId, part: &Range<u32>) -> Self {
        Self { extent, part: Some((part.start, part.end)) }
    }
}

impl From<ExtentId> for Slice {
    fn from(extent: ExtentId) -> Self {
        Self { extent, part: None }
    }
}

/// What was used last of extents; those being fetched are fetched once.
#[derive(Debug)]
pub(crate) struct ExtentCache {
    kept: Mutex<Kept>,
    fetching: Mutex<HashMap<Slice, Cell>>,
}

/// The first that came goes first, unless it was used since: then it comes last once more. One goes for one that comes, so
/// that the buffer of the one serves the other.
#[derive(Debug)]
struct Kept {
    entries: HashMap<Slice, Entry>,
    /// As they came, with some that were let go of.
    order: VecDeque<Slice>,
    bytes: u64,
    limit: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    used: bool,
}

/// About what an entry takes beside its bytes: in the tables, and of the allocator.
const ENTRY_BYTES: u64 = 192;
/// So many places in the order are left behind by what was let go of, at most, beside as many as there are entries.
const LEFT_MAX: usize = 64;

/// Bytes of memory that a kept extent takes, its places in tables included.
const fn cost(len: usize) -> u64 {
    len as u64 + ENTRY_BYTES
}

impl Kept {
    fn get(&mut self, slice: Slice) -> Option<Bytes> {
        let entry = self.entries.get_mut(&slice)?;
        entry.used = true;
        Some(entry.bytes.clone())
    }

    fn insert(&mut self, slice: Slice, bytes: Bytes) {
        let len = cost(bytes.len());
        let entry = Entry { bytes, used: false };
        self.bytes += len;
        if let Some(earlier) = self.entries.insert(slice, entry) {
            self.bytes -= cost(earlier.bytes.len());
            return;
        }
        // This one stays, however long it is: it was just asked for.
        while self.bytes > self.limit && self.let_one_go() {}
        self.order.push_back(slice);
        if self.order.len() > 2 * self.entries.len() + LEFT_MAX {
            let entries = &self.entries;
            self.order.retain(|slice| entries.contains_key(slice));
        }
    }

    /// Lets the first one go that was not used since it came, or came again. Answers whether there was one.
    fn let_one_go(&mut self) -> bool {
        while let Some(slice) = self.order.pop_front() {
            match self.entries.get_mut(&slice) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(slice);
                }
                Some(_) => {
                    self.remove(slice);
                    return true;
                }
                None => {}
            }
        }
        false
    }

    fn has(&self, slice: Slice) -> bool {
        self.entries.contains_key(&slice)
    }

    fn remove(&mut self, slice: Slice) {
        if let Some(entry) = self.entries.remove(&slice) {
            self.bytes -= cost(entry.bytes.len());
        }
    }
}

/// One who waits for an extent, answered or given up. The last one to leave takes the cell away.
struct Waiting<'a> {
    cache: &'a ExtentCache,
    slice: Slice,
    cell: Option<Cell>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut fetching = self.cache.fetching();
        // Let go under the lock: else of two that leave at once, each would count the other.
        self.cell = None;
        if fetching.get(&self.slice).is_some_and(|cell| Arc::strong_count(cell) == 1) {
            fetching.remove(&self.slice);
        }
    }
}

impl ExtentCache {
    /// Holds at most `bytes`, or one longer extent.
    pub(crate) fn new(bytes: u64) -> Self {
        let kept = Kept { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, limit: bytes };
        Self { kept: Mutex::new(kept), fetching: Mutex::default() }
    }

    pub(crate) fn get(&self, slice: impl Into<Slice>) -> Option<Bytes> {
        self.lock().get(slice.into())
    }

    /// These bytes, from memory or by `fetch`; whoever asks at the same time waits for the same fetch.
    pub(crate) async fn get_or_fetch<E, F>(&self, slice: impl Into<Slice>, fetch: F) -> Result<Bytes, E>
    where
        F: Future<Output = Result<Bytes, E>>,
    {
        let slice = slice.into();
        if let Some(bytes) = self.get(slice) {
            return Ok(bytes);
        }
        let cell = Arc::clone(self.fetching().entry(slice).or_default());
        let waiting = Waiting { cache: self, slice, cell: Some(cell) };
        let cell = waiting.cell.as_deref().expect("it is held until the value is dropped");
        let fetched = cell.get_or_try_init(|| fetch).await.cloned();
        if let Ok(bytes) = &fetched {
            self.lock().insert(slice, bytes.clone());
        }
        drop(waiting);
        fetched
    }

    /// How many of the longest extents fit.
    pub(crate) fn extents_max(&self) -> u64 {
        self.lock().limit / cost(MAX_EXTENT_BYTES as usize)
    }

    /// What an extent holds is known, because it was made here.
    pub(crate) fn keep(&self, extent: ExtentId, bytes: Bytes) {
        self.lock().insert(extent.into(), bytes);
    }

    /// Lets go of extents that no file refers to any more.
    pub(crate) fn forget(&self, extents: &[ExtentId]) {
        let mut kept = self.lock();
        extents.iter().for_each(|extent| kept.remove((*extent).into()));
    }

    /// Whether it is in memory, or being fetched. To ask for that does not count as a use.
    pub(crate) fn is_coming(&self, slice: impl Into<Slice>) -> bool {
        let slice = slice.into();
        self.lock().has(slice) || self.fetching().contains_key(&slice)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetching(&self) -> MutexGuard<'_, HashMap<Slice, Cell>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use weft_types::{ExtentSeq, SessionId};

    fn id(seq: u64) -> ExtentId {
        ExtentId { session: SessionId::from_bytes([0; 16]), seq: ExtentSeq::new(seq) }
    }

    #[tokio::test]
    async fn it_is_bounded_and_keeps_what_is_used() {
        let cache = ExtentCache::new(10 * (10 + ENTRY_BYTES));
        for seq in 0..50 {
            let fetched: Result<_, ()> =
                cache.get_or_fetch(id(seq), async { Ok(Bytes::from(vec![0; 10])) }).await;
            assert!(fetched.is_ok());
            assert!(cache.get(id(0)).is_some());
            let kept = cache.lock();
            let held: usize = kept.entries.values().map(|entry| entry.bytes.len()).sum();
            assert!(held <= 100);
        }
        assert!(cache.get(id(20)).is_none());
        assert!(cache.fetching().is_empty());
    }

    #[tokio::test]
    async fn what_is_forgotten_makes_room() {
        let cache = ExtentCache::new(10 * (10 + ENTRY_BYTES));
        for seq in 0..20 {
            let fetched: Result<_, ()> =
                cache.get_or_fetch(id(seq), async { Ok(Bytes::from(vec![0; 10])) }).await;
            assert!(fetched.is_ok());
            if seq >= 4 {
                cache.forget(&[id(seq)]);
            }
        }
        assert!((0..4).all(|seq| cache.get(id(seq)).is_some()));
        assert_eq!(cache.lock().bytes, 4 * (10 + ENTRY_BYTES));
    }

    #[test]
    fn one_goes_for_one_that_comes_the_first_unless_it_was_used() {
        let cache = ExtentCache::new(4 * (10 + ENTRY_BYTES));
        let keep = |seq| cache.keep(id(seq), Bytes::from_static(&[0; 10]));
        let kept = || (0..10).filter(|seq| cache.lock().has(id(*seq).into())).collect::<Vec<_>>();
        (0..4).for_each(keep);
        assert!(cache.get(id(0)).is_some());
        keep(4);
        assert_eq!(kept(), [0, 2, 3, 4]);
        keep(5);
        keep(6);
        assert_eq!(kept(), [0, 4, 5, 6], "it was used once, and comes last once more");
        keep(7);
        assert_eq!(kept(), [4, 5, 6, 7]);
        cache.keep(id(8), Bytes::from(vec![0; 5000]));
        assert_eq!(kept(), [8], "one that is longer than all is kept alone");
    }

    #[test]
    fn what_was_let_go_of_leaves_little_behind() {
        let cache = ExtentCache::new(1000 * ENTRY_BYTES);
        for seq in 0..100_000 {
            cache.keep(id(seq), Bytes::new());
            cache.forget(&[id(seq)]);
        }
        assert!(cache.lock().order.len() <= LEFT_MAX + 2 && cache.lock().bytes == 0);
    }

    #[tokio::test]
    async fn those_who_ask_at_once_wait_for_one_fetch() {
        let cache = ExtentCache::new(10 * (10 + ENTRY_BYTES));
        let fetch = || async {
            tokio::task::yield_now().await;
            Ok::<_, ()>(Bytes::from_static(b"x"))
        };
        let second = AtomicBool::new(false);
        let never = async {
            second.store(true, Ordering::Relaxed);
            Ok::<_, ()>(Bytes::new())
        };
        let (a, b) = tokio::join!(cache.get_or_fetch(id(1), fetch()), cache.get_or_fetch(id(1), never));
        assert_eq!((a, b), (Ok(Bytes::from_static(b"x")), Ok(Bytes::from_static(b"x"))));
        assert!(!second.load(Ordering::Relaxed));
        assert!(cache.fetching().is_empty());
    }

    #[tokio::test]
    async fn a_fetch_that_is_given_up_leaves_nothing_behind() {
        let cache = ExtentCache::new(10 * (10 + ENTRY_BYTES));
        let mut given_up = Box::pin(cache.get_or_fetch(id(1), core::future::pending::<Result<Bytes, ()>>()));
        assert!(is_pending_now(given_up.as_mut()).await);
        assert!(cache.is_coming(id(1)));
        drop(given_up);
        assert!(!cache.is_coming(id(1)));
    }

    /// Whether a future has nothing to say yet.
    async fn is_pending_now<F: Future>(mut future: core::pin::Pin<&mut F>) -> bool {
        core::future::poll_fn(|cx| core::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_failed_fetch_is_tried_again() {
        let cache = ExtentCache::new(10 * (10 + ENTRY_BYTES));
        assert_eq!(cache.get_or_fetch(id(1), async { Err(7) }).await, Err(7));
        let again: Result<_, i32> = cache.get_or_fetch(id(1), async { Ok(Bytes::new()) }).await;
        assert!(again.is_ok());
    }
}
