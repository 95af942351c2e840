use super::*;
use proptest::prelude::*;
use weft_types::{ExtentSeq, SessionId};

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([1; 16]);
const SLOT: usize = 4160;

fn extent(seq: u64) -> ExtentId {
    ExtentId { session: SessionId::from_bytes([2; 16]), seq: ExtentSeq::new(seq) }
}

fn sealer(seq: u64) -> ExtentSealer {
    ExtentSealer::new(&DataKey::from_bytes(&[3; 32]), FILESYSTEM, extent(seq))
}

fn seal(block: u32, plaintext: &[u8]) -> Vec<u8> {
    let mut slot = vec![0xee; SLOT];
    sealer(7).seal_into(block, plaintext, &mut slot).expect("fits");
    slot
}

fn open(sealer: &ExtentSealer, block: u32, slot: &[u8], length: usize) -> Result<Vec<u8>, OpenBlockError> {
    let mut out = vec![0xee; length];
    sealer.open_from(block, slot, &mut out).map(|()| out)
}

fn block_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 4000..=4096)]
}

proptest! {
    #[test]
    fn a_block_opens_as_it_was_sealed(block: u32, plaintext in block_bytes()) {
        let slot = seal(block, &plaintext);
        prop_assert_eq!(open(&sealer(7), block, &slot, plaintext.len()).expect("opens"), plaintext.clone());
        let mut in_place = plaintext.clone();
        let tag = sealer(7).seal_block(block, &mut in_place).expect("a block");
        prop_assert_eq!(&slot[..plaintext.len()], &in_place[..]);
        prop_assert_eq!(&slot[plaintext.len()..plaintext.len() + TAG_BYTES], &tag[..]);
    }

    #[test]
    fn any_flipped_bit_of_a_slot_is_caught(plaintext in block_bytes(), at in 0..SLOT, bit in 0_u8..8) {
        let mut slot = seal(1, &plaintext);
        slot[at] ^= 1 << bit;
        let expected =
            if at < plaintext.len() + TAG_BYTES { OpenBlockError::NotAuthentic } else { OpenBlockError::Padding };
        prop_assert_eq!(open(&sealer(7), 1, &slot, plaintext.len()), Err(expected));
    }

    #[test]
    fn a_block_elsewhere_or_of_another_length_does_not_open(
        (block, other) in any::<(u32, u32)>(), plaintext in prop::collection::vec(any::<u8>(), 1..=4096), length in 0_usize..4096,
    ) {
        let slot = seal(block, &plaintext);
        let own = sealer(7);
        prop_assert_eq!(open(&own, other, &slot, plaintext.len()).is_ok(), block == other);
        prop_assert_eq!(open(&sealer(8), block, &slot, plaintext.len()), Err(OpenBlockError::NotAuthentic));
        prop_assert_eq!(open(&own, block, &slot, length).is_ok(), length == plaintext.len());
    }

    #[test]
    fn a_cut_slot_is_caught(plaintext in block_bytes(), cut in 0..SLOT) {
        let slot = seal(1, &plaintext);
        let whole = cut >= plaintext.len() + TAG_BYTES;
        let truncated = OpenBlockError::Truncated { slot: cut, plaintext: plaintext.len() };
        let opened = open(&sealer(7), 1, &slot[..cut], plaintext.len());
        prop_assert_eq!(opened, if whole { Ok(plaintext) } else { Err(truncated) });
    }

    #[test]
    fn no_plaintext_shows_in_a_slot(plaintext in prop::collection::vec(any::<u8>(), 16..=4096)) {
        let slot = seal(1, &plaintext);
        let pieces: std::collections::HashSet<_> = plaintext.windows(16).collect();
        let shows = slot.windows(16).any(|window| pieces.contains(window));
        prop_assert!(!shows);
    }
}

#[test]
fn another_filesystem_or_key_does_not_open_it() {
    let slot = seal(0, b"text");
    let key = DataKey::from_bytes(&[3; 32]);
    let foreign = ExtentSealer::new(&key, FilesystemId::from_bytes([9; 16]), extent(7));
    assert_eq!(open(&foreign, 0, &slot, 4), Err(OpenBlockError::NotAuthentic));
    let other_key = ExtentSealer::new(&DataKey::from_bytes(&[9; 32]), FILESYSTEM, extent(7));
    assert_eq!(open(&other_key, 0, &slot, 4), Err(OpenBlockError::NotAuthentic));
}

#[test]
fn unverified_bytes_never_reach_the_output() {
    let mut slot = seal(0, &[0x55; 4096]);
    slot[4095] ^= 1;
    let mut out = [0; 4096];
    sealer(7).open_from(0, &slot, &mut out).expect_err("damaged");
    assert_eq!(out, [0; 4096]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut slot = [0; 64];
    assert_eq!(sealer(7).seal_into(0, &[0; 48], &mut slot), Ok(()));
    let small = SealBlockError::SlotTooSmall { slot: 64, plaintext: 49 };
    assert_eq!(sealer(7).seal_into(0, &[0; 49], &mut slot), Err(small));
    assert_eq!(sealer(7).seal_into(0, &[0; 4097], &mut [0; 8192]), Err(SealBlockError::TooLong(4097)));
    assert_eq!(sealer(7).seal_block(0, &mut [0; 4097]), Err(SealBlockError::TooLong(4097)));
}
