//! Blocks of 4 KiB sealed and opened on one core, as files' contents are.

use core::time::Duration;
use std::time::Instant;

use weft_keys::{DataKey, ExtentSealer, KEY_BYTES};
use weft_layout::SLOT_BYTES;
use weft_types::{ExtentId, ExtentSeq, FilesystemId, SessionId};

use crate::error::Cause;
use crate::pattern::BLOCK;
use crate::statistics::per_second;

/// Blocks of one extent of 1 MiB.
const BLOCKS: u32 = 256;

/// MB/s of sealing, and of opening.
pub(super) fn measure(bound: Duration) -> Result<(f64, f64), Cause> {
    let extent = ExtentId { session: SessionId::from_bytes([1; 16]), seq: ExtentSeq::new(1) };
    let sealer =
        ExtentSealer::new(&DataKey::from_bytes(&[7; KEY_BYTES]), FilesystemId::from_bytes([2; 16]), extent);
    let slot = SLOT_BYTES as usize;
    // The same bytes every time: a nonce must not see two texts.
    let plaintext = vec![0x5a; BLOCK];
    let mut slots = vec![0; slot * BLOCKS as usize];
    let mut out = vec![0; BLOCK];
    let seal = rate(bound, || {
        for (block, slot) in (0..BLOCKS).zip(slots.chunks_exact_mut(slot)) {
            sealer.seal_into(block, &plaintext, slot)?;
        }
        Ok(())
    })?;
    let open = rate(bound, || {
        for (block, slot) in (0..BLOCKS).zip(slots.chunks_exact(slot)) {
            sealer.open_from(block, slot, &mut out)?;
        }
        Ok(())
    })?;
    if out != plaintext {
        return Err("the block that was opened is not the one that was sealed".into());
    }
    Ok((seal, open))
}

fn rate(bound: Duration, mut megabyte: impl FnMut() -> Result<(), Cause>) -> Result<f64, Cause> {
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < bound {
        megabyte()?;
        bytes += u64::from(BLOCKS) * BLOCK as u64;
    }
    Ok(per_second(bytes, start.elapsed()) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_have_a_rate() {
        let (seal, open) = measure(Duration::from_millis(5)).expect("measured");
        assert!(seal > 0.0 && open > 0.0);
    }
}
