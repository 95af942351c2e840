//! Memory that direct IO takes.

/// What every medium in use accepts as the start of a buffer.
const ALIGN: usize = 4096;

/// Zeroed bytes that start on a multiple of 4096.
#[derive(Debug)]
pub(crate) struct Aligned {
    store: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        let store = vec![0; len + ALIGN];
        let start = store.as_ptr().align_offset(ALIGN);
        // A vector that nobody grows does not move.
        Self { store, start, len }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_aligned() {
        for len in [1, 4096, 1 << 20] {
            let mut buffer = Aligned::new(len);
            assert_eq!(buffer.bytes().as_ptr() as usize % ALIGN, 0);
            assert_eq!(buffer.bytes().len(), len);
        }
    }
}
