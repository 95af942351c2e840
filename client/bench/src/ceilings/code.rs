//! Parity of whole extents on one core.

use core::hint::black_box;
use core::time::Duration;
use std::time::Instant;

use weft_layout::{Codec, Geometry, MAX_EXTENT_BYTES, Protection};
use weft_types::ByteCount;

use crate::error::Cause;
use crate::statistics::per_second;

/// MB/s of data.
pub(super) fn measure(protection: Protection, bound: Duration) -> Result<f64, Cause> {
    let extent = Geometry::new(protection, ByteCount::new(MAX_EXTENT_BYTES.into()))?;
    let len = extent.full_shard_bytes() as usize;
    let data = vec![0x5a; usize::from(protection.data()) * len];
    let shards: Vec<_> = data.chunks_exact(len).collect();
    let mut codec = Codec::new(protection);
    let (mut start, mut bytes, mut warm) = (Instant::now(), 0, false);
    while !warm || start.elapsed() < bound {
        black_box(codec.encode(&shards, len)?);
        if !warm {
            // The first one allocates, and builds the tables.
            (start, warm) = (Instant::now(), true);
            continue;
        }
        bytes += u64::from(MAX_EXTENT_BYTES);
    }
    Ok(per_second(bytes, start.elapsed()) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_rate() {
        let code = "4+2".parse().expect("a code");
        assert!(measure(code, Duration::from_millis(20)).expect("measured") > 0.0);
    }
}
