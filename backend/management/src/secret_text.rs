//! A text that holds a key.

use core::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Text with key material. Shared by its copies, wiped when the last one drops, never printed.
#[derive(Clone)]
pub(crate) struct SecretText(Arc<Zeroizing<String>>);

impl SecretText {
    /// Takes the text over.
    pub(crate) fn new(text: Zeroizing<String>) -> Self {
        Self(Arc::new(text))
    }

    /// The text.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<C> minicbor::Encode<C> for SecretText {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for SecretText {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self::new(Zeroizing::new(d.str()?.to_owned())))
    }
}
