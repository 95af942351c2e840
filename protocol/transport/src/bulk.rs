//! The bulk of a request, in as many pieces as it came.

use bytes::Bytes;

/// Bytes that travel after a body without being copied into it. The peer receives the pieces as one run.
#[derive(Debug, Clone, Default)]
pub struct Bulk(Vec<Bytes>);

impl Bulk {
    /// No bytes.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// How many bytes all pieces have together.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.0
    }
}

impl From<Bytes> for Bulk {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<u8>> for Bulk {
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![bytes.into()])
    }
}

impl From<Vec<Bytes>> for Bulk {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}
