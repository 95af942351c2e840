//! Names of directory entries.

use core::fmt;

/// Longest name in bytes (POSIX `NAME_MAX`, as on Linux).
pub const NAME_BYTES_MAX: usize = 255;

/// One component of a path: 1 to 255 bytes, any but `/` and NUL, not `.` nor `..`.
///
/// Names are sealed before they leave their owner, so they are never printed: `Debug` shows the length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why bytes are no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// EINVAL: empty, `.`, `..`, or with a `/` or NUL in it.
    #[error("not a file name")]
    Invalid,
    /// ENAMETOOLONG.
    #[error("a name has at most 255 bytes")]
    TooLong,
}

impl Name {
    /// Checks the bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let reserved = bytes.is_empty() || bytes == b"." || bytes == b"..";
        if reserved || bytes.iter().any(|&b| b == b'/' || b == 0) {
            return Err(NameError::Invalid);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({} bytes)", self.0.len())
    }
}

impl<C> minicbor::Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Name {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.bytes()?).map_err(|_| minicbor::decode::Error::message("not a file name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = [b'a'; 256];
        let rows: [(&[u8], Option<NameError>); 8] = [
            (b"a", None),
            (&[0xff, 0x01], None),
            (&long[..255], None),
            (&long, Some(NameError::TooLong)),
            (b"", Some(NameError::Invalid)),
            (b"..", Some(NameError::Invalid)),
            (b"a/b", Some(NameError::Invalid)),
            (b"a\0", Some(NameError::Invalid)),
        ];
        for (bytes, error) in rows {
            assert_eq!(Name::new(bytes).err(), error, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_is_never_printed() {
        assert_eq!(format!("{:?}", Name::new(b"secret").expect("a name")), "Name(6 bytes)");
    }
}
