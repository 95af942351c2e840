//! Key bytes on their way to a client that may have them.

use core::fmt;

use zeroize::Zeroize;

/// 32 bytes of key material. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Box<[u8; 32]>);

impl KeyBytes {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// The bytes, to make a key of.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

impl<C> minicbor::Encode<C> for KeyBytes {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0[..])?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for KeyBytes {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        bytes.try_into().map(Self::new).map_err(|_| minicbor::decode::Error::message("key is not 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", KeyBytes::new([0xAB; 32])), "KeyBytes(..)");
    }
}
