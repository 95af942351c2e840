//! The encoding of derivation info and authenticated data.

/// Fields, each behind its length (32 bits, big-endian). The first is the purpose.
///
/// Lengths keep `("ab", "c")` and `("a", "bc")` apart; the purpose keeps one use of a key from passing for another.
pub(crate) struct Context(Vec<u8>);

impl Context {
    /// Begins with the purpose.
    pub(crate) fn of(purpose: &'static str) -> Self {
        Self(Vec::with_capacity(128)).field(purpose.as_bytes())
    }

    /// Appends a field. A field of 4 GiB or more cannot be told apart from a shorter one; none is.
    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).expect("fields are short");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }
}

impl AsRef<[u8]> for Context {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_stand_behind_their_length() {
        let context = Context::of("ab").field(&[]).field(&[7]);
        assert_eq!(context.as_ref(), [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 1, 7]);
    }

    proptest! {
        #[test]
        fn different_fields_never_look_alike(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) {
            let encode = |fields: &[Vec<u8>]| fields.iter().fold(Context::of("x"), |c, f| c.field(f)).0;
            prop_assert_eq!(encode(&a) == encode(&b), a == b);
        }
    }
}
