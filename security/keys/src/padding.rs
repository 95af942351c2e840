//! Padding that hides the length of names.

/// Padded plaintexts are a multiple of this many bytes.
pub const PADDED_TO: usize = 64;

const LENGTH_BYTES: usize = 4;

/// Why bytes are not what [`pad`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    /// Empty, or not a multiple of [`PADDED_TO`].
    #[error("{0} bytes are no padded text: not a positive multiple of {PADDED_TO}")]
    Unaligned(usize),
    /// The length in front does not fit the bytes behind it.
    #[error("a padded text of {padded} bytes cannot hold {claimed}")]
    Length {
        /// Bytes in all.
        padded: usize,
        /// The length in front.
        claimed: u32,
    },
    /// There is something else than zeroes behind the text.
    #[error("the padding is not zero")]
    NotZero,
}

/// The text behind its length (32 bits, little-endian), then zeroes up to a multiple of [`PADDED_TO`].
///
/// # Panics
/// For 4 GiB and more.
pub fn pad(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("rows are short");
    let padded = (LENGTH_BYTES + text.len()).next_multiple_of(PADDED_TO);
    let mut out = Vec::with_capacity(padded);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text);
    out.resize(padded, 0);
    out
}

/// The text that [`pad`] was given. Only bytes that [`pad`] makes are accepted.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PaddingError> {
    let unaligned = PaddingError::Unaligned(padded.len());
    if !padded.len().is_multiple_of(PADDED_TO) {
        return Err(unaligned);
    }
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>().ok_or(unaligned)?;
    let claimed = u32::from_le_bytes(*length);
    let wrong = PaddingError::Length { padded: padded.len(), claimed };
    let text = usize::try_from(claimed).ok().and_then(|length| rest.get(..length)).ok_or(wrong)?;
    let zeroes = &rest[text.len()..];
    if zeroes.len() >= PADDED_TO {
        return Err(wrong);
    }
    if zeroes.iter().any(|byte| *byte != 0) {
        return Err(PaddingError::NotZero);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_survives_its_padding(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let padded = pad(&text);
            prop_assert!(padded.len().is_multiple_of(PADDED_TO) && padded.len() < text.len() + 4 + PADDED_TO);
            prop_assert_eq!(unpad(&padded), Ok(&text[..]));
        }

        #[test]
        fn any_bytes_are_an_answer_and_only_padded_ones_a_text(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                (0_u8..140, prop::collection::vec(0_u8..2, 125)).prop_map(|(n, rest)| [&[n, 0, 0], &rest[..]].concat()),
            ],
        ) {
            if let Ok(text) = unpad(&bytes) {
                prop_assert_eq!(pad(text), bytes);
            }
        }
    }

    #[test]
    fn each_damage_has_its_name() {
        assert_eq!(pad(b"a")[..6], [1, 0, 0, 0, b'a', 0]);
        assert_eq!(unpad(&[]), Err(PaddingError::Unaligned(0)));
        assert_eq!(unpad(&[0; 63]), Err(PaddingError::Unaligned(63)));
        assert_eq!(unpad(&[0; 128]), Err(PaddingError::Length { padded: 128, claimed: 0 }));
        assert_eq!(unpad(&[61; 64]), Err(PaddingError::Length { padded: 64, claimed: 0x3d3d_3d3d }));
        let mut dirty = pad(b"a");
        dirty[63] = 1;
        assert_eq!(unpad(&dirty), Err(PaddingError::NotZero));
    }
}
