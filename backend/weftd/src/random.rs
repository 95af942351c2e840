//! Randomness for ids and salts.

/// Bytes from a cryptographically strong source.
///
/// # Panics
/// When the system has none: nothing may go on with ids that others can guess.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
