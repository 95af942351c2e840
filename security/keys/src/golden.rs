//! Fixed inputs, fixed bytes, computed by another implementation (the HMAC of Python, the AES-GCM of OpenSSL): what was
//! sealed yesterday must open tomorrow. A value that changes here is a change of format, and needs one that the
//! cluster has agreed on.

use weft_types::{
    ClusterId, DataKeyId, Epoch, ExtentId, ExtentSeq, FilesystemId, Inode, KeyVersion, MetadataShard,
    SessionId, StoreVersion,
};

use crate::{
    ClusterKey, DataKey, EpochSalt, ExtentSealer, FilesystemKey, MetadataKey, NameHasher, NameKey, Nonce,
    OwnershipSealer, pad,
};

const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([0x11; 16]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 0, 1, 2 .. 31 plus `start`.
fn secret(start: u8) -> [u8; 32] {
    core::array::from_fn(|at| start + u8::try_from(at).expect("below 32"))
}

fn nonce() -> Nonce {
    Nonce::from_random([0x22; 12])
}

#[test]
fn a_block() {
    let extent = ExtentId { session: SessionId::from_bytes([0x33; 16]), seq: ExtentSeq::new(0x0102) };
    let sealer = ExtentSealer::new(&DataKey::from_bytes(&secret(0)), FILESYSTEM, extent);
    let mut slot = [0xff; 64];
    sealer.seal_into(5, b"a block of an extent", &mut slot).expect("fits");
    assert_eq!(
        hex(&slot),
        "2277203c3e9afcb926e768ada3965b9d76da3462e5ec098f9eef41f9389d8d9079edc355000000000000000000\
         00000000000000000000000000000000000000"
    );
}

#[test]
fn a_row() {
    let key = MetadataKey::from_bytes(&secret(32));
    let salt = EpochSalt::from_random(secret(64));
    let mut sealer = OwnershipSealer::new(&key, FILESYSTEM, MetadataShard::new(3), Epoch::new(4), salt);
    let row = sealer.seal(b"row key", 6, b"a row").expect("not exhausted");
    assert_eq!(
        hex(&row),
        "0100000000000000060000000000000004000000000000000e137782a254377ade92a33a414767f6266f983a22"
    );
}

#[test]
fn a_name() {
    let hasher = NameHasher::new(&NameKey::from_bytes(&secret(96)));
    assert_eq!(hasher.hash(Inode::ROOT, b"etc").to_string(), "197e35b267d7e6ac");
}

#[test]
fn a_wrapped_data_key() {
    let key = FilesystemKey::from_bytes(FILESYSTEM, KeyVersion::new(7), &secret(128));
    let wrapped = key.wrap_data_key(DataKeyId::new(8), &DataKey::from_bytes(&secret(0)), nonce());
    assert_eq!(
        hex(&minicbor::to_vec(wrapped).expect("encodes")),
        "83074c2222222222222222222222225830b2e03ce7a45b0f740f7137ca9dbd7643bfe3dc0c08e69e49ecc7c7b0\
         f689f64011026a80a7108a0db81fb908b9785d8f"
    );
}

#[test]
fn the_other_wrapped_keys() {
    let key = FilesystemKey::from_bytes(FILESYSTEM, KeyVersion::new(7), &secret(128));
    let metadata = key.wrap_metadata_key(&MetadataKey::from_bytes(&secret(32)), nonce());
    assert_eq!(
        hex(&minicbor::to_vec(metadata).expect("encodes")),
        "83074c22222222222222222222222258306382860e60ccfb7fb4d94651e855f73add5c474949e2f1addc6476c2\
         676feea54bc46ec76f79de21569df0b5944ca3b4"
    );
    let name = key.wrap_name_key(&NameKey::from_bytes(&secret(96)), nonce());
    assert_eq!(
        hex(&minicbor::to_vec(name).expect("encodes")),
        "83074c2222222222222222222222225830a901ae701c1c6fef97717d740f0d774fa40b15cde746277931345e76\
         bf93c940ad3f85cec7dbaa4911000fb2e3d4b9c5"
    );
}

#[test]
fn a_cluster_store() {
    let key = ClusterKey::from_bytes(&secret(160));
    let sealed = key.seal_store(ClusterId::from_bytes([0x44; 16]), StoreVersion::new(9), b"a store", nonce());
    assert_eq!(hex(&sealed), "2222222222222222222222229d02a984d395f0bcc06e30587d9be871bd26fe7dfac22a");
}

#[test]
fn a_padded_name() {
    assert_eq!(hex(&pad(b"name")[..12]), "040000006e616d6500000000");
}
