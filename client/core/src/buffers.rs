//! Long buffers that are used again: an allocator gives them back to the kernel, which clears every page of the next one
//! anew. That costs more than sealing what is put there.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Shorter buffers are left to the allocator.
const LONG: usize = 256 << 10;
/// Longer ones too.
const LONGEST: usize = 8 << 20;
/// Free bytes that are kept at most.
const KEPT_MAX: usize = 16 << 20;

#[derive(Debug)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { buffers: Vec::new(), bytes: 0 });

/// An empty buffer with room for so many bytes.
pub(crate) fn with_capacity(len: usize) -> Vec<u8> {
    if !(LONG..=LONGEST).contains(&len) {
        return Vec::with_capacity(len);
    }
    let capacity = len.next_power_of_two();
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let found = free.buffers.iter().rposition(|buffer| buffer.capacity() == capacity);
    match found {
        Some(at) => {
            free.bytes -= capacity;
            free.buffers.swap_remove(at)
        }
        None => {
            drop(free);
            Vec::with_capacity(capacity)
        }
    }
}

/// So many zeroes.
pub(crate) fn zeroed(len: usize) -> Vec<u8> {
    if len < LONG {
        return vec![0; len];
    }
    let mut buffer = with_capacity(len);
    buffer.resize(len, 0);
    buffer
}

/// Takes a buffer back that nobody needs any more.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    if !capacity.is_power_of_two() || !(LONG..=LONGEST).contains(&capacity) {
        return;
    }
    buffer.clear();
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.bytes + capacity <= KEPT_MAX {
        free.bytes += capacity;
        free.buffers.push(buffer);
    }
}

struct Shared(Vec<u8>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        give_back(core::mem::take(&mut self.0));
    }
}

/// A buffer that is only read from now on; it is used again when the last one has read it. Of one that is mostly empty the
/// bytes are copied: what is kept for long is counted by its length.
pub(crate) fn share(buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() > LONG && buffer.capacity() / 2 > buffer.len() {
        let bytes = Bytes::copy_from_slice(&buffer);
        give_back(buffer);
        return bytes;
    }
    if buffer.capacity() < LONG { Bytes::from(buffer) } else { Bytes::from_owner(Shared(buffer)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mostly_empty_is_not_kept_whole() {
        let mut buffer = with_capacity(4 << 20);
        buffer.extend_from_slice(b"short");
        let at = buffer.as_ptr();
        let bytes = share(buffer);
        assert!(bytes == b"short"[..] && bytes.as_ptr() != at, "its memory is free again");
    }

    #[test]
    fn what_is_given_back_is_empty_bounded_and_never_too_short() {
        for len in [1, LONG - 1, LONG, LONG + 1, 1 << 20, (1 << 20) + 4096, LONGEST, LONGEST + 1] {
            let mut buffer = zeroed(len);
            assert!(buffer.len() == len && buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
            let bytes = share(buffer);
            assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == 7));
            drop(bytes);
            let again = with_capacity(len);
            assert!(again.is_empty() && again.capacity() >= len);
        }
        for _ in 0..100 {
            give_back(Vec::with_capacity(1 << 20));
        }
        assert!(FREE.lock().expect("sound").bytes <= KEPT_MAX);
    }
}
