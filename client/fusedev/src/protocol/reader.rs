//! Taking fields from bytes, in the order and the byte order of the host.

/// Bytes that are no request: too short for their kind, or a name without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request is shorter than its kind")]
pub struct Malformed;

/// Bytes that are not read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Malformed)?;
        self.left = left;
        Ok(*taken)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    /// Passes over fields that mean nothing.
    pub(crate) fn skip(&mut self, len: usize) -> Result<(), Malformed> {
        self.bytes(len).map(drop)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.left.split_at_checked(len).ok_or(Malformed)?;
        self.left = left;
        Ok(taken)
    }

    /// The bytes before a NUL.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.left.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
        let name = self.bytes(len)?;
        self.skip(1)?;
        Ok(name)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.left
    }
}
