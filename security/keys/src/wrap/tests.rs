use super::*;
use proptest::prelude::*;

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([1; 16]);

fn key(filesystem: u8, version: u32, secret: u8) -> FilesystemKey {
    let filesystem = FilesystemId::from_bytes([filesystem; 16]);
    FilesystemKey::from_bytes(filesystem, KeyVersion::new(version), &[secret; 32])
}

fn nonce(byte: u8) -> Nonce {
    Nonce::from_random([byte; 12])
}

fn wrapped() -> WrappedKey {
    key(1, 2, 3).wrap_data_key(DataKeyId::new(5), &DataKey::from_bytes(&[7; 32]), nonce(4))
}

proptest! {
    #[test]
    fn a_wrapped_key_opens_after_its_way_over_the_wire(secret: [u8; 32], id: u64, nonce: [u8; 12]) {
        let id = DataKeyId::new(id);
        let filesystem_key = key(1, 2, 3);
        let wrapped =
            filesystem_key.wrap_data_key(id, &DataKey::from_bytes(&secret), Nonce::from_random(nonce));
        let wire = minicbor::to_vec(&wrapped).expect("encodes");
        prop_assert!(!wire.windows(32).any(|window| window == secret));
        let read: WrappedKey = minicbor::decode(&wire).expect("decodes");
        prop_assert_eq!(&read, &wrapped);
        let opened = filesystem_key.unwrap_data_key(id, &read).expect("opens");
        prop_assert_eq!(opened.expose(), &secret);
    }

    #[test]
    fn any_flipped_bit_is_caught(at in 0_usize..60, bit in 0_u8..8) {
        let mut damaged = wrapped();
        match at.checked_sub(NONCE_BYTES) {
            None => damaged.nonce[at] ^= 1 << bit,
            Some(at) => damaged.sealed[at] ^= 1 << bit,
        }
        let refused = key(1, 2, 3).unwrap_data_key(DataKeyId::new(5), &damaged);
        prop_assert_eq!(refused.err(), Some(UnwrapError::NotAuthentic));
    }

    #[test]
    fn any_wire_bytes_are_an_answer(bytes: Vec<u8>) {
        if let Ok(read) = minicbor::decode::<WrappedKey>(&bytes) {
            prop_assert!(key(1, 2, 3).unwrap_name_key(&read).is_err());
        }
    }
}

#[test]
fn a_wrap_opens_for_its_own_use_only() {
    let (own, wrapped) = (key(1, 2, 3), wrapped());
    let broken = Some(UnwrapError::NotAuthentic);
    assert_eq!(own.unwrap_data_key(DataKeyId::new(6), &wrapped).err(), broken);
    assert_eq!(own.unwrap_metadata_key(&wrapped).err(), broken);
    assert_eq!(own.unwrap_name_key(&wrapped).err(), broken);
    assert_eq!(key(9, 2, 3).unwrap_data_key(DataKeyId::new(5), &wrapped).err(), broken);
    assert_eq!(key(1, 2, 9).unwrap_data_key(DataKeyId::new(5), &wrapped).err(), broken);
    let other = UnwrapError::OtherVersion { wrapped: KeyVersion::new(2), given: KeyVersion::new(3) };
    assert_eq!(key(1, 3, 3).unwrap_data_key(DataKeyId::new(5), &wrapped).err(), Some(other));
    let relabelled = WrappedKey { version: KeyVersion::new(3), ..wrapped };
    assert_eq!(key(1, 3, 3).unwrap_data_key(DataKeyId::new(5), &relabelled).err(), broken);
}

#[test]
fn every_kind_of_key_comes_back() {
    let own = key(1, 2, 3);
    let metadata = own.wrap_metadata_key(&MetadataKey::from_bytes(&[8; 32]), nonce(1));
    let name = own.wrap_name_key(&NameKey::from_bytes(&[9; 32]), nonce(2));
    assert_eq!(own.unwrap_metadata_key(&metadata).expect("opens").expose(), &[8; 32]);
    assert_eq!(own.unwrap_name_key(&name).expect("opens").expose(), &[9; 32]);
    assert_eq!(own.unwrap_name_key(&metadata).err(), Some(UnwrapError::NotAuthentic));
    assert_eq!(format!("{own:?}"), format!("FilesystemKey({FILESYSTEM}, version 2)"));
}
