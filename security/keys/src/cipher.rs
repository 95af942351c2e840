//! AES-256-GCM under derived keys.

use core::fmt;

use aws_lc_rs::aead::{self, AES_256_GCM, Aad, LessSafeKey, Nonce as Nonce96, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::secret::KEY_BYTES;

/// Bytes of the authentication tag behind every ciphertext.
pub const TAG_BYTES: usize = 16;

pub(crate) const NONCE_BYTES: usize = aead::NONCE_LEN;

/// 96 random bits for one sealing.
///
/// Not `Clone` and consumed by its use: a nonce that comes back under the same key gives the plaintexts away.
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// From bytes of a cryptographically strong random source, drawn for this one sealing.
    pub const fn from_random(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

/// The seal is broken: other bytes, another key, or another context than those sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// A key that was derived for one purpose.
pub(crate) struct Cipher(LessSafeKey);

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Cipher {
    /// HKDF-SHA-256 with this salt (empty: none) over the secret, expanded by the context.
    pub(crate) fn derive(secret: &[u8; KEY_BYTES], salt: &[u8], info: &Context) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Salt::new(HKDF_SHA256, salt)
            .extract(secret)
            .expand(&[info.as_ref()], Length)
            .and_then(|okm| okm.fill(&mut key[..]))
            .expect("HKDF-SHA-256 gives 32 bytes");
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key[..]).expect("AES-256 takes 32 bytes")))
    }

    /// Encrypts in place and gives the tag. At most 2^36 bytes.
    pub(crate) fn seal_in_place(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce96::assume_unique_for_key(nonce), Aad::from(aad), in_out)
            .expect("AES-GCM seals what fits into memory");
        tag.as_ref().try_into().expect("a tag of AES-GCM is 16 bytes")
    }

    /// Encrypts into `sealed`, which is as long as the plaintext and a tag.
    pub(crate) fn seal_into(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        sealed: &mut [u8],
    ) {
        let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
        self.0
            .seal_out_of_place_scatter(
                Nonce96::assume_unique_for_key(nonce),
                Aad::from(aad),
                plaintext,
                ciphertext,
                &[],
                tag,
            )
            .expect("AES-GCM seals into a buffer of the right length");
    }

    /// Decrypts ciphertext and tag into `out`, which is as long as the ciphertext. `out` is wiped when the seal is
    /// broken: the library may have left unverified plaintext in it.
    pub(crate) fn open_into(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        if ciphertext.len() != out.len() {
            return Err(NotAuthentic);
        }
        self.0
            .open_separate_gather(Nonce96::assume_unique_for_key(nonce), Aad::from(aad), ciphertext, tag, out)
            .map_err(|_| {
                out.fill(0);
                NotAuthentic
            })
    }
}

/// A counter as a nonce: big-endian, zeroes before it.
pub(crate) fn counter_nonce(counter: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[NONCE_BYTES - 8..].copy_from_slice(&counter.to_be_bytes());
    nonce
}
