use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([1; 16]);
const SHARD: MetadataShard = MetadataShard::new(0);

fn key() -> MetadataKey {
    MetadataKey::from_bytes(&[2; 32])
}

fn salt() -> EpochSalt {
    EpochSalt::from_random([3; 32])
}

fn sealer(epoch: u64) -> OwnershipSealer {
    OwnershipSealer::new(&key(), FILESYSTEM, SHARD, Epoch::new(epoch), salt())
}

fn open(opener: &RowOpener, row_key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenRowError> {
    opener.open(row_key, sealed).map(|plaintext| plaintext.to_vec())
}

proptest! {
    #[test]
    fn a_row_opens_as_it_was_sealed(row_key: Vec<u8>, seq: u64, plaintext: Vec<u8>) {
        let mut sealer = sealer(4);
        let sealed = sealer.seal(&row_key, seq, &plaintext).expect("not exhausted");
        prop_assert_eq!(sealed.len(), plaintext.len() + SealedRow::OVERHEAD);
        prop_assert_eq!(open(sealer.opener(), &row_key, &sealed), Ok(plaintext));
        let position = SealedRow::parse(&sealed).expect("parses").position();
        prop_assert_eq!(position, Position { epoch: Epoch::new(4), seq });
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_caught(plaintext: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
        let mut sealer = sealer(4);
        let mut sealed = sealer.seal(b"row", 9, &plaintext).expect("not exhausted");
        let at = at.index(sealed.len());
        prop_assert!(open(sealer.opener(), b"row", &sealed[..at]).is_err());
        sealed[at] ^= 1 << bit;
        prop_assert!(open(sealer.opener(), b"row", &sealed).is_err());
    }

    #[test]
    fn a_row_under_another_key_does_not_open(one: Vec<u8>, other: Vec<u8>) {
        let mut sealer = sealer(4);
        let sealed = sealer.seal(&one, 9, b"text").expect("not exhausted");
        prop_assert_eq!(open(sealer.opener(), &other, &sealed).is_ok(), one == other);
    }

    #[test]
    fn no_plaintext_shows_in_a_row(plaintext in prop::collection::vec(any::<u8>(), 16..200)) {
        let sealed = sealer(4).seal(b"row", 9, &plaintext).expect("not exhausted");
        let shows = sealed.windows(16).any(|window| plaintext.windows(16).any(|piece| piece == window));
        prop_assert!(!shows);
    }

    #[test]
    fn any_bytes_are_an_answer(bytes: Vec<u8>) {
        prop_assert!(open(sealer(0).opener(), b"row", &bytes).is_err());
    }
}

#[test]
fn no_nonce_comes_twice_and_the_same_row_never_looks_the_same() {
    let mut sealer = sealer(4);
    let rows: Vec<_> = (0..1000).map(|_| sealer.seal(b"row", 9, b"text").expect("not exhausted")).collect();
    let nonces: HashSet<_> = rows.iter().map(|row| row[..8].to_vec()).collect();
    let bodies: HashSet<_> = rows.iter().map(|row| row[HEADER_BYTES..].to_vec()).collect();
    assert_eq!((nonces.len(), bodies.len()), (1000, 1000));
    assert_eq!(rows[0][..8], 1_u64.to_le_bytes());
}

#[test]
fn an_exhausted_ownership_seals_nothing_more() {
    let mut sealer = sealer(4);
    sealer.sealed = LAST_COUNTER - 1;
    let last = sealer.seal(b"row", 9, b"text").expect("the last one");
    assert_eq!(last[..8], LAST_COUNTER.to_le_bytes());
    for _ in 0..2 {
        assert_eq!(sealer.seal(b"row", 9, b"text"), Err(RowsExhausted { epoch: Epoch::new(4) }));
    }
}

#[test]
fn the_same_epoch_with_another_salt_is_another_key() {
    let sealed = sealer(4).seal(b"row", 9, b"text").expect("not exhausted");
    let again =
        OwnershipSealer::new(&key(), FILESYSTEM, SHARD, Epoch::new(4), EpochSalt::from_random([9; 32]))
            .seal(b"row", 9, b"text")
            .expect("not exhausted");
    assert_eq!(sealed[..HEADER_BYTES], again[..HEADER_BYTES]);
    assert_ne!(sealed[HEADER_BYTES..HEADER_BYTES + 4], again[HEADER_BYTES..HEADER_BYTES + 4]);
}

#[test]
fn another_filesystem_shard_epoch_or_key_does_not_open_it() {
    let sealed = sealer(4).seal(b"row", 9, b"text").expect("not exhausted");
    let epoch = Epoch::new(4);
    let other_key = MetadataKey::from_bytes(&[9; 32]);
    let openers = [
        RowOpener::new(&key(), FilesystemId::from_bytes([9; 16]), SHARD, epoch, salt()),
        RowOpener::new(&key(), FILESYSTEM, MetadataShard::new(1), epoch, salt()),
        RowOpener::new(&other_key, FILESYSTEM, SHARD, epoch, salt()),
        RowOpener::new(&key(), FILESYSTEM, SHARD, epoch, EpochSalt::from_random([9; 32])),
    ];
    for opener in &openers {
        assert_eq!(open(opener, b"row", &sealed), Err(OpenRowError::NotAuthentic));
    }
    let later = RowOpener::new(&key(), FILESYSTEM, SHARD, Epoch::new(5), salt());
    let mismatch = OpenRowError::OtherEpoch { sealed: epoch, given: Epoch::new(5) };
    assert_eq!(open(&later, b"row", &sealed), Err(mismatch));
}

#[test]
fn an_old_row_cannot_be_put_back_under_a_newer_position() {
    let mut sealer = sealer(4);
    let mut old = sealer.seal(b"row", 9, b"old").expect("not exhausted");
    old[8..16].copy_from_slice(&10_u64.to_le_bytes());
    assert_eq!(open(sealer.opener(), b"row", &old), Err(OpenRowError::NotAuthentic));
}
