//! Names within directories, hashed under the name key.

use core::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use weft_types::{Inode, NameHash};

use crate::context::Context;
use crate::secret::NameKey;

/// Hashes the names of one filesystem.
pub struct NameHasher(hmac::Key);

impl NameHasher {
    /// For the filesystem with this name key.
    pub fn new(key: &NameKey) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key.expose()))
    }

    /// The hash of a name within its directory: HMAC-SHA-256 over purpose, parent and name, cut to 63 bits.
    pub fn hash(&self, parent: Inode, name: &[u8]) -> NameHash {
        let context = Context::of("weft name").field(&parent.get().to_be_bytes()).field(name);
        let mac = hmac::sign(&self.0, context.as_ref());
        NameHash::from_mac(*mac.as_ref().first_chunk().expect("a MAC of SHA-256 is 32 bytes"))
    }
}

impl fmt::Debug for NameHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(key: u8) -> NameHasher {
        NameHasher::new(&NameKey::from_bytes(&[key; 32]))
    }

    #[test]
    fn a_hash_depends_on_key_parent_and_name() {
        let hash = hasher(1).hash(Inode::ROOT, b"etc");
        assert_eq!(hash, hasher(1).hash(Inode::ROOT, b"etc"));
        assert_ne!(hash, hasher(2).hash(Inode::ROOT, b"etc"));
        assert_ne!(hash, hasher(1).hash(Inode::new(2), b"etc"));
        assert_ne!(hash, hasher(1).hash(Inode::ROOT, b"etd"));
    }
}
