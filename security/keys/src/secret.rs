//! The keys themselves.

use core::fmt;

use zeroize::Zeroize;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// 32 secret bytes that stay at one place in memory and are wiped when dropped.
pub(crate) struct Secret(Box<[u8; KEY_BYTES]>);

impl Secret {
    /// Lets the caller write the key where it will stay.
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        let mut secret = Self(Box::new([0; KEY_BYTES]));
        fill(&mut secret.0);
        secret
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 32 bytes on the heap, wiped on drop, never printed, and not `Clone`: share it by reference.
        pub struct $name(pub(crate) Secret);

        impl $name {
            /// A new key. `random` fills the bytes from a cryptographically strong source.
            pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
                Self(Secret::filled(|bytes| random(bytes)))
            }

            /// The key with these bytes. The caller wipes its own copy.
            pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
                Self(Secret::filled(|secret| secret.copy_from_slice(bytes)))
            }

            /// The bytes, to hand the key to whoever may hold it. Copies are the caller's to wipe.
            pub fn expose(&self) -> &[u8; KEY_BYTES] {
                self.0.expose()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

key!(
    /// Seals the cluster store: map, identities, wrapped filesystem keys, the authority's key. Wrapped by the KMS.
    ClusterKey
);
key!(
    /// Seals a filesystem's rows: names, attributes, extended attributes, symlink targets, extent maps.
    MetadataKey
);
key!(
    /// Hashes names within directories. It outlives re-encryption: whoever holds it can test a guess of a name.
    NameKey
);
key!(
    /// Seals the extents of one file.
    DataKey
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_was_drawn_and_is_never_printed() {
        let key = DataKey::generate(&mut |bytes| bytes.fill(0xab));
        assert_eq!(key.expose(), &[0xab; 32]);
        assert_eq!(format!("{key:?}"), "DataKey(..)");
        assert_eq!(format!("{:?}", ClusterKey::from_bytes(&[1; 32])), "ClusterKey(..)");
    }
}
