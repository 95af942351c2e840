//! Buffers for direct IO, used again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::AlignedBuf;

/// Capacities that are kept, and how many of each: 38 MiB at most.
const CLASSES: [(usize, usize); 3] = [(16 << 10, 256), (128 << 10, 80), (2 << 20, 12)];

/// Free buffers by class.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: [Mutex<Vec<AlignedBuf>>; CLASSES.len()],
}

/// A buffer that goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledBuf {
    buf: AlignedBuf,
    pool: Arc<Pool>,
}

impl Pool {
    /// A buffer of `len` bytes that hold anything.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> PooledBuf {
        let class = CLASSES.iter().position(|(capacity, _)| len <= *capacity);
        let free =
            class.and_then(|class| self.free[class].lock().unwrap_or_else(PoisonError::into_inner).pop());
        let mut buf =
            free.unwrap_or_else(|| AlignedBuf::with_capacity(class.map_or(len, |class| CLASSES[class].0)));
        buf.resize(len);
        PooledBuf { buf, pool: Arc::clone(self) }
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        let Some(class) = CLASSES.iter().position(|(capacity, _)| self.buf.capacity() == *capacity) else {
            return;
        };
        let mut free = self.pool.free[class].lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < CLASSES[class].1 {
            free.push(std::mem::take(&mut self.buf));
        }
    }
}

impl Deref for PooledBuf {
    type Target = AlignedBuf;

    fn deref(&self) -> &AlignedBuf {
        &self.buf
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut AlignedBuf {
        &mut self.buf
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self.buf.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_dropped() {
        let pool = Arc::new(Pool::default());
        let buf = pool.take(5000);
        let at = buf.as_slice().as_ptr();
        let slice = Bytes::from_owner(buf).slice(100..200);
        assert_ne!(pool.take(5000).as_slice().as_ptr(), at, "it is in use");
        drop(slice);
        assert_eq!(pool.take(6000).as_slice().as_ptr(), at, "one of its class");
    }

    #[test]
    fn giants_are_not_kept() {
        let pool = Arc::new(Pool::default());
        drop(pool.take(5 << 20));
        assert!(pool.free.iter().all(|free| free.lock().expect("lock").is_empty()));
    }
}
