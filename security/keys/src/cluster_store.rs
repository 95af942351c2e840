//! The seal of the cluster store.

use weft_types::{ClusterId, StoreVersion};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, NONCE_BYTES, Nonce, TAG_BYTES};
use crate::context::Context;
use crate::secret::ClusterKey;

/// Why a copy of the cluster store does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenStoreError {
    /// Too short to be a sealed store at all.
    #[error("a sealed cluster store of {0} bytes is cut off")]
    Truncated(usize),
    /// Damaged, or of another cluster or version, or sealed under another key.
    #[error("the cluster store is damaged, or is not the one its header says")]
    NotAuthentic,
}

impl ClusterKey {
    /// Seals one version of the store: nonce (12 bytes), ciphertext, tag (16 bytes).
    pub fn seal_store(
        &self,
        cluster: ClusterId,
        version: StoreVersion,
        plaintext: &[u8],
        nonce: Nonce,
    ) -> Vec<u8> {
        let mut sealed = vec![0; NONCE_BYTES + plaintext.len() + TAG_BYTES];
        let (head, body) = sealed.split_at_mut(NONCE_BYTES);
        head.copy_from_slice(nonce.bytes());
        self.store_cipher(cluster).seal_into(
            *nonce.bytes(),
            store_aad(cluster, version).as_ref(),
            plaintext,
            body,
        );
        sealed
    }

    /// Opens what [`seal_store`](Self::seal_store) made. The plaintext holds keys and is wiped on drop.
    pub fn open_store(
        &self,
        cluster: ClusterId,
        version: StoreVersion,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenStoreError> {
        let truncated = OpenStoreError::Truncated(sealed.len());
        let (nonce, body) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(truncated)?;
        let length = body.len().checked_sub(TAG_BYTES).ok_or(truncated)?;
        let mut out = Zeroizing::new(vec![0; length]);
        self.store_cipher(cluster)
            .open_into(*nonce, store_aad(cluster, version).as_ref(), body, &mut out)
            .map_err(|_| OpenStoreError::NotAuthentic)?;
        Ok(out)
    }

    fn store_cipher(&self, cluster: ClusterId) -> Cipher {
        let info = Context::of("weft cluster store key").field(&cluster.to_bytes());
        Cipher::derive(self.expose(), &[], &info)
    }
}

fn store_aad(cluster: ClusterId, version: StoreVersion) -> Context {
    Context::of("weft cluster store").field(&cluster.to_bytes()).field(&version.get().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
    const VERSION: StoreVersion = StoreVersion::new(5);

    fn key() -> ClusterKey {
        ClusterKey::from_bytes(&[2; 32])
    }

    fn seal(plaintext: &[u8]) -> Vec<u8> {
        key().seal_store(CLUSTER, VERSION, plaintext, Nonce::from_random([3; 12]))
    }

    proptest! {
        #[test]
        fn a_store_opens_as_it_was_sealed(plaintext: Vec<u8>) {
            let sealed = seal(&plaintext);
            prop_assert_eq!(sealed.len(), plaintext.len() + 28);
            let opened = key().open_store(CLUSTER, VERSION, &sealed).expect("opens");
            prop_assert_eq!(&opened[..], &plaintext[..]);
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_caught(plaintext: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut sealed = seal(&plaintext);
            let at = at.index(sealed.len());
            prop_assert!(key().open_store(CLUSTER, VERSION, &sealed[..at]).is_err());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(key().open_store(CLUSTER, VERSION, &sealed), Err(OpenStoreError::NotAuthentic));
        }
    }

    #[test]
    fn another_cluster_version_or_key_does_not_open_it() {
        let sealed = seal(b"map");
        let broken = Err(OpenStoreError::NotAuthentic);
        assert_eq!(key().open_store(ClusterId::from_bytes([9; 16]), VERSION, &sealed), broken);
        assert_eq!(key().open_store(CLUSTER, StoreVersion::new(6), &sealed), broken);
        assert_eq!(ClusterKey::from_bytes(&[9; 32]).open_store(CLUSTER, VERSION, &sealed), broken);
    }
}
