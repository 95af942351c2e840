use super::*;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;
use weft_types::{ClusterId, FilesystemId};

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([2; 16]);

/// The answer of a future that has nothing to wait for.
fn now<T>(mut future: KmsFuture<'_, T>) -> Result<T, KmsError> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a local key needs no waiting"),
    }
}

fn made() -> (TempDir, PathBuf, LocalKms) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("kms.key");
    let kms = LocalKms::create(&path).expect("created");
    (dir, path, kms)
}

fn context() -> EncryptionContext {
    EncryptionContext::of_filesystem(CLUSTER, FILESYSTEM)
}

fn write_key_file(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn refusal(path: &Path) -> (String, bool) {
    let error = LocalKms::open(path).expect_err("refused");
    (error.to_string(), error.is_retryable())
}

#[test]
fn a_key_comes_back_from_the_same_file_in_the_same_context() {
    let (_dir, path, kms) = made();
    let wrapped = now(kms.wrap(&[7; 32], &context())).expect("wraps");
    assert_eq!(wrapped.as_bytes().len(), WRAPPED_BYTES);
    assert!(!wrapped.as_bytes().windows(32).any(|window| window == [7; 32]));
    let again = LocalKms::open(&path).expect("opens");
    let opened = now(again.unwrap(&wrapped, &context())).expect("unwraps");
    assert_eq!(opened.expose(), &[7; 32]);
    assert_eq!(again.key_reference(), format!("{}@{}", kms.key_id(), path.display()));
    now(again.check()).expect("is there");
    let twice = now(kms.wrap(&[7; 32], &context())).expect("wraps");
    assert_ne!(twice, wrapped, "a nonce of its own");
}

#[test]
fn another_context_does_not_unwrap() {
    let (_dir, _path, kms) = made();
    let wrapped = now(kms.wrap(&[7; 32], &context())).expect("wraps");
    let others = [
        EncryptionContext::of_cluster(CLUSTER),
        EncryptionContext::of_filesystem(CLUSTER, FilesystemId::from_bytes([9; 16])),
        EncryptionContext::of_filesystem(ClusterId::from_bytes([9; 16]), FILESYSTEM),
    ];
    for other in others {
        let error = now(kms.unwrap(&wrapped, &other)).expect_err("refused");
        assert!(matches!(error, KmsError::WrongContext { .. }) && !error.is_retryable());
        let text = error.to_string();
        assert!(text.contains("another cluster or filesystem") && text.contains("another drive"), "{text}");
    }
}

#[test]
fn another_key_file_is_named() {
    let (_dir, _path, kms) = made();
    let (_other_dir, _other_path, other) = made();
    let wrapped = now(kms.wrap(&[7; 32], &context())).expect("wraps");
    let error = now(other.unwrap(&wrapped, &context())).expect_err("refused");
    let expected = format!(
        "the key was wrapped under local key {}, not under {}: configure the key it was wrapped under",
        kms.key_id(),
        other.key_reference()
    );
    assert_eq!((error.to_string(), error.is_retryable()), (expected, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_any_cut_and_any_bytes_are_refused(
        at in 0..WRAPPED_BYTES, bit in 0_u8..8, bytes: Vec<u8>,
    ) {
        let (_dir, _path, kms) = made();
        let wrapped = now(kms.wrap(&[7; 32], &context())).expect("wraps").as_bytes().to_vec();
        let mut flipped = wrapped.clone();
        flipped[at] ^= 1 << bit;
        for bad in [flipped, wrapped[..at].to_vec(), [&wrapped[..], &[0]].concat(), bytes] {
            let error = now(kms.unwrap(&KmsWrapped::from_bytes(bad), &context())).expect_err("refused");
            prop_assert!(!error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_key_file_with_any_change_or_cut_is_refused(at: prop::sample::Index, flip in 1_u8..=255) {
        let (_dir, path, _kms) = made();
        let whole = fs::read(&path).expect("reads");
        let at = at.index(whole.len());
        let mut changed = whole.clone();
        changed[at] ^= flip;
        for bad in [&changed[..], &whole[..at], &[&whole[..], b"\n"].concat()] {
            write_key_file(&path, bad);
            let (text, _) = refusal(&path);
            prop_assert!(text.contains(&path.display().to_string()) && text.contains(": "), "{text}");
        }
    }
}

#[test]
fn a_wrap_of_another_service_is_malformed() {
    let (_dir, _path, kms) = made();
    let error = now(kms.unwrap(&KmsWrapped::from_bytes(vec![9; 200]), &context())).expect_err("refused");
    let expected =
        "200 bytes are no key wrapped by local: check that the KMS provider is the one that wrapped it";
    assert_eq!((error.to_string().as_str(), error.is_retryable()), (expected, false));
}

#[test]
fn a_key_file_is_one_private_line_and_nothing_is_left_beside_it() {
    let (dir, path, kms) = made();
    let text = fs::read_to_string(&path).expect("reads");
    assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o7777, 0o600);
    assert!(text.starts_with(&format!("weft-local-kms-key 1 {} ", kms.key_id())), "{text}");
    assert_eq!((text.len(), text.lines().count()), (184, 1));
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    let secret = text.split(' ').nth(3).expect("a key");
    assert!(!format!("{kms:?}").contains(secret));
}

#[test]
fn a_key_file_is_never_replaced() {
    let (dir, path, _kms) = made();
    let before = fs::read(&path).expect("reads");
    let error = LocalKms::create(&path).expect_err("refused");
    let expected = format!(
        "the KMS key file {} exists already and is not replaced: choose another path",
        path.display()
    );
    assert_eq!((error.to_string(), error.is_retryable()), (expected, false));
    assert_eq!(fs::read(&path).expect("reads"), before);
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
}

#[test]
fn a_missing_key_file_may_come_back() {
    let (_dir, path, kms) = made();
    fs::remove_file(&path).expect("removed");
    let expected = format!(
        "the KMS key file {} is missing: restore it from a backup, or mount what it lies on",
        path.display()
    );
    assert_eq!(refusal(&path), (expected.clone(), true));
    assert_eq!(now(kms.check()).expect_err("gone").to_string(), expected);
    now(kms.wrap(&[7; 32], &context())).expect("what was read stays in use");
}

#[test]
fn a_replaced_key_file_is_seen() {
    let (_dir, path, kms) = made();
    let (_other_dir, other_path, _other) = made();
    fs::rename(&other_path, &path).expect("replaced");
    assert!(matches!(now(kms.check()), Err(KmsError::OtherKey { .. })));
}

#[test]
fn a_key_file_that_others_can_use_is_refused() {
    let (_dir, path, _kms) = made();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        let name = path.display();
        let expected = format!(
            "the KMS key file {name} has mode {mode:04o}, so others than its owner may use it: \
             run `chmod 600 {name}`, and rotate the key if someone may have read it"
        );
        assert_eq!(refusal(&path), (expected, false));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("permissions");
    LocalKms::open(&path).expect("its owner may use it");
}

#[test]
fn what_is_no_key_file_is_told_from_a_damaged_one() {
    let (dir, path, _kms) = made();
    let whole = fs::read_to_string(&path).expect("reads");
    let name = path.display();
    let damaged = format!("the KMS key file {name} is truncated or damaged: restore it from a backup");
    for bad in ["", "weft-local", &whole[..100], &whole.replace(" 1 ", " x ")] {
        write_key_file(&path, bad.as_bytes());
        assert_eq!(refusal(&path), (damaged.clone(), false), "{bad}");
    }
    for bad in [b"-----BEGIN PRIVATE KEY-----".as_slice(), &[0xff; 1 << 20]] {
        write_key_file(&path, bad);
        assert_eq!(refusal(&path), (format!("{name} is not a KMS key file: correct the path"), false));
    }
    write_key_file(&path, whole.replace(" 1 ", " 2 ").as_bytes());
    let newer =
        format!("the KMS key file {name} is of a newer format: use the Weft that made it, or a newer one");
    assert_eq!(refusal(&path), (newer, false));
    let directory = dir.path().display();
    let not_a_file = format!("the KMS key file {directory} is not a regular file: correct the path");
    assert_eq!(refusal(dir.path()), (not_a_file, false));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let (_dir, path, _kms) = made();
    let inside_a_file = path.join("kms.key");
    let error = LocalKms::create(&inside_a_file).expect_err("refused");
    let text = error.to_string();
    let named = format!("the KMS key file {} cannot be written", inside_a_file.display());
    assert!(text.starts_with(&named) && text.contains("check the disk"), "{text}");
    assert!(error.is_retryable());
    assert!(core::error::Error::source(&error).is_some());
}
