//! A byte buffer that a device takes without a copy.

use std::fmt;

use bytes::Bytes;

/// Bytes a buffer for direct IO starts, ends and grows on: what every medium in use accepts.
pub const BLOCK: usize = 4096;

/// A growable buffer whose first byte and capacity lie on [`BLOCK`] boundaries.
pub struct AlignedBuf {
    /// One block more than the capacity, so that an aligned start exists within.
    store: Vec<u8>,
    /// Where the aligned start is; the allocation does not move with this value.
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// An empty one that allocates nothing yet.
    pub const fn new() -> Self {
        Self { store: Vec::new(), start: 0, len: 0 }
    }

    /// An empty one that takes `bytes` bytes without growing.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buf = Self::new();
        buf.reserve(bytes);
        buf
    }

    /// Bytes in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it takes without growing, a multiple of [`BLOCK`].
    pub const fn capacity(&self) -> usize {
        self.store.len().saturating_sub(BLOCK)
    }

    /// What is in it.
    pub fn as_slice(&self) -> &[u8] {
        &self.store[self.start..self.start + self.len]
    }

    /// What is in it.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.start + self.len]
    }

    /// Adds `bytes` at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        let from = self.len;
        self.resize(from + bytes.len());
        self.as_mut_slice()[from..].copy_from_slice(bytes);
    }

    /// Adds zeroes up to the next multiple of [`BLOCK`].
    pub fn pad_to_block(&mut self) {
        let from = self.len;
        self.resize(from.next_multiple_of(BLOCK));
        self.as_mut_slice()[from..].fill(0);
    }

    /// Makes it `len` bytes long. Bytes that are new in it hold whatever was there before: zeroes, or what an
    /// earlier use left.
    pub fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len));
        self.len = len;
    }

    /// Makes room for `more` bytes after those that are in it.
    pub fn reserve(&mut self, more: usize) {
        let wanted = self.len + more;
        if wanted <= self.capacity() {
            return;
        }
        let capacity = wanted.next_multiple_of(BLOCK).max(2 * self.capacity());
        let mut store = vec![0; capacity + BLOCK];
        let start = store.as_ptr().align_offset(BLOCK);
        store[start..start + self.len].copy_from_slice(self.as_slice());
        (self.store, self.start) = (store, start);
    }

    /// Empties it and keeps its memory.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Where its first byte is, for the kernel; it stays there until the buffer grows or is dropped.
    pub(crate) fn start_mut(&mut self) -> *mut u8 {
        self.store[self.start..].as_mut_ptr()
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl From<AlignedBuf> for Bytes {
    /// Without a copy.
    fn from(buf: AlignedBuf) -> Self {
        Self::from_owner(buf)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_was_put_in_and_stays_aligned(parts in prop::collection::vec((0_usize..9000, any::<bool>(), any::<u8>()), 0..20)) {
            let mut buf = AlignedBuf::new();
            let mut expected = Vec::new();
            for (len, pad, fill) in parts {
                if fill == 0 {
                    buf.clear();
                    expected.clear();
                }
                buf.extend(&vec![fill; len]);
                expected.resize(expected.len() + len, fill);
                if pad {
                    buf.pad_to_block();
                    expected.resize(expected.len().next_multiple_of(BLOCK), 0);
                }
                prop_assert_eq!(buf.as_slice(), &expected[..]);
                prop_assert_eq!(buf.capacity() % BLOCK, 0);
                prop_assert!(buf.capacity() >= buf.len());
                // One that holds nothing has no memory of its own.
                prop_assert!(buf.capacity() == 0 || buf.start_mut().align_offset(BLOCK) == 0);
            }
            prop_assert_eq!(Bytes::from(buf), Bytes::from(expected));
        }
    }

    #[test]
    fn bytes_of_it_are_its_own_memory() {
        let mut buf = AlignedBuf::with_capacity(5000);
        buf.extend(b"as it lies");
        let at = buf.as_slice().as_ptr();
        assert_eq!(Bytes::from(buf).as_ptr(), at);
    }
}
