//! Bytes that nobody can guess.

/// Fills from the system's cryptographically strong source.
///
/// # Panics
/// When the system has no such source: nothing can be kept secret then.
pub(crate) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
}

/// Bytes for an id, a nonce or a salt.
pub(crate) fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
