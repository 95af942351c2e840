use super::*;

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

fn key() -> ClusterKey {
    ClusterKey::from_bytes(&[2; 32])
}

fn nonce(byte: u8) -> Nonce {
    Nonce::from_random([byte; 12])
}

fn header() -> StoreHeader {
    StoreHeader {
        cluster: CLUSTER,
        version: StoreVersion::default(),
        kms_provider: "local".to_owned(),
        kms_key: "kms.key".to_owned(),
        cluster_key: KmsWrapped::from_bytes(vec![3; 60]),
    }
}

/// A store at version 2, closed.
fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    let mut file = StoreFile::create(dir.path(), header(), key(), b"first", nonce(1)).expect("creates");
    assert_eq!(
        file.replace(StoreVersion::new(1), b"second", nonce(2)).expect("replaces"),
        StoreVersion::new(2)
    );
    dir
}

fn open(dir: &tempfile::TempDir) -> Result<OpenedStore, StoreError> {
    StoreFile::open(dir.path(), CLUSTER, key())
}

#[test]
fn a_store_comes_back_as_it_was_last_replaced() {
    let dir = made();
    let mut opened = open(&dir).expect("opens");
    assert_eq!((&opened.content[..], &opened.damage), (&b"second"[..], &None));
    assert_eq!(opened.file.header(), &StoreHeader { version: StoreVersion::new(2), ..header() });
    for version in 2..6 {
        let content = format!("content {version}");
        opened.file.replace(StoreVersion::new(version), content.as_bytes(), nonce(9)).expect("replaces");
    }
    drop(opened);
    assert_eq!(&open(&dir).expect("opens").content[..], b"content 5");
}

#[test]
fn only_the_version_that_was_read_is_replaced() {
    let dir = made();
    let mut opened = open(&dir).expect("opens");
    let error = opened.file.replace(StoreVersion::new(1), b"late", nonce(3)).expect_err("refused");
    assert!(matches!(error, StoreError::Changed { found, .. } if found == StoreVersion::new(2)));
    drop(opened);
    assert_eq!(&open(&dir).expect("opens").content[..], b"second");
}

#[test]
fn the_older_generation_serves_when_the_newer_is_cut_or_changed_anywhere() {
    let dir = made();
    let newer = dir.path().join("store-0");
    let whole = fs::read(&newer).expect("reads");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        for damaged in [&whole[..at], &flipped] {
            fs::write(&newer, damaged).expect("writes");
            let opened = open(&dir).unwrap_or_else(|error| panic!("byte {at}: {error}"));
            assert_eq!(&opened.content[..], b"first", "byte {at}");
            assert_eq!(opened.damage.expect("is reported").path, newer);
        }
    }
    fs::remove_file(dir.path().join("store-1")).expect("removes");
    fs::write(&newer, &whole[..40]).expect("writes");
    let error = open(&dir).expect_err("damaged").to_string();
    assert!(error.contains("store-0") && error.contains("cut off") && error.contains("restore"), "{error}");
}

#[test]
fn a_damaged_generation_is_replaced_by_the_next_version() {
    let dir = made();
    let newer = dir.path().join("store-0");
    fs::write(&newer, b"x").expect("writes");
    let mut opened = open(&dir).expect("opens");
    opened.file.replace(StoreVersion::new(1), b"again", nonce(4)).expect("replaces");
    drop(opened);
    let opened = open(&dir).expect("opens");
    assert_eq!((&opened.content[..], opened.damage), (&b"again"[..], None));
}

#[test]
fn a_write_that_did_not_finish_changes_nothing() {
    let dir = made();
    fs::write(dir.path().join(TEMPORARY), b"half a sto").expect("writes");
    let opened = open(&dir).expect("opens");
    assert_eq!((&opened.content[..], opened.damage), (&b"second"[..], None));
}

#[test]
fn what_is_not_this_cluster_s_store_is_refused_and_left_alone() {
    let dir = made();
    let other = StoreFile::open(dir.path(), ClusterId::from_bytes([9; 16]), key());
    assert!(matches!(other, Err(StoreError::OtherCluster { found: CLUSTER, .. })));
    let wrong_key = StoreFile::open(dir.path(), CLUSTER, ClusterKey::from_bytes(&[9; 32]));
    assert!(matches!(wrong_key, Err(StoreError::Sealed { .. })));
    let again = StoreFile::create(dir.path(), header(), key(), b"new", nonce(5));
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    let empty = tempfile::tempdir().expect("directory");
    assert!(matches!(open(&empty), Err(StoreError::Absent { .. })));
    assert_eq!(empty.path().read_dir().expect("reads").count(), 0);
    let _held = open(&dir).expect("opens");
    assert!(matches!(open(&dir), Err(StoreError::InUse { .. })));
}

#[test]
fn a_newer_format_is_not_taken_for_damage() {
    let dir = made();
    let newer = dir.path().join("store-0");
    let mut bytes = fs::read(&newer).expect("reads");
    bytes[8] = 7;
    let at = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&newer, &bytes).expect("writes");
    assert!(matches!(open(&dir), Err(StoreError::NewerFormat { found: 7, .. })));
}

#[test]
fn nothing_of_the_content_is_in_the_clear() {
    let dir = tempfile::tempdir().expect("directory");
    StoreFile::create(dir.path(), header(), key(), b"a marker in the content", nonce(1)).expect("creates");
    let bytes = fs::read(dir.path().join("store-1")).expect("reads");
    assert!(!bytes.windows(8).any(|window| b"a marker".starts_with(window)));
    assert!(bytes.windows(7).any(|window| window == b"kms.key"), "the reference is in clear");
}
