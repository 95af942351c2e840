//! Quantities: bytes, offsets and times.

use core::fmt;
use core::time::Duration;

/// Plaintext bytes of one sealed block.
pub const BLOCK_BYTES: u64 = 4096;

/// A number of bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct ByteCount(#[n(0)] u64);

impl ByteCount {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The difference, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for ByteCount {
    /// Three significant digits with a binary unit, as people read sizes: `1.50 GiB`.
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let steps = (63 - (self.0 | 1).leading_zeros() as usize) / 10;
        if steps == 0 {
            return write!(f, "{} B", self.0);
        }
        let value = self.0 as f64 / (1_u64 << (10 * steps)) as f64;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.digits$} {}", UNITS[steps])
    }
}

/// A byte's place in a file, from 0. POSIX `off_t`: at most 2^63 - 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(transparent)]
pub struct FileOffset(#[n(0)] u64);

impl FileOffset {
    /// The place with this number.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A point in time: seconds since 1970-01-01 UTC, which may be negative, and nanoseconds `0..1_000_000_000`
/// counted forward from them (POSIX `struct timespec`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    #[n(0)]
    pub seconds: i64,
    /// Nanoseconds past [`seconds`](Self::seconds).
    #[n(1)]
    pub nanos: u32,
}

impl Timestamp {
    /// The point this long after 1970.
    pub fn from_unix(since_epoch: Duration) -> Self {
        Self { seconds: since_epoch.as_secs().cast_signed(), nanos: since_epoch.subsec_nanos() }
    }

    /// Whether the nanoseconds are fewer than a second's. What comes from outside may not be.
    pub const fn is_sound(self) -> bool {
        self.nanos < 1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let rows = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_610_612_736, "1.50 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in rows {
            assert_eq!(ByteCount::new(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_before_1970_sort_before_it() {
        let before = Timestamp { seconds: -1, nanos: 999_999_999 };
        assert!(before < Timestamp::default());
    }
}
