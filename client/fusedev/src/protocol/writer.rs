//! Putting fields one after the other, in the byte order of the host.

/// The longest answer of fixed size: that of STATX.
const CAPACITY: usize = 288;

/// The fields of one answer or notification, without allocation. Every use is of a fixed size that fits.
#[derive(Clone)]
pub(crate) struct Fields {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    /// Fields that mean nothing.
    pub(crate) fn zeroes(&mut self, len: usize) -> &mut Self {
        self.len += len;
        debug_assert!(self.len <= CAPACITY);
        self
    }

    fn put(&mut self, value: &[u8]) -> &mut Self {
        self.bytes[self.len..self.len + value.len()].copy_from_slice(value);
        self.len += value.len();
        self
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
