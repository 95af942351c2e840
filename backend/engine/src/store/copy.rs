//! The bytes of one copy of the cluster store.
//!
//! | bytes | field (numbers little-endian) |
//! |---|---|
//! | 0..8 | magic `WEFTSTOR` |
//! | 8..10 | format, 2 |
//! | 10..12 | zero |
//! | 12..16 | bytes of the header |
//! | 16..24 | bytes of the body |
//! | 24.. | header, in clear: CBOR of [`StoreHeader`] |
//! | then | body: sealed by the cluster key |
//! | last 4 | CRC32C of all before |

use bytes::Bytes;
use weft_keys::{ClusterKey, KmsWrapped, Nonce, OpenStoreError};
use weft_types::{ClusterId, StoreVersion};
use zeroize::Zeroizing;

/// The format that this version writes.
const FORMAT: u16 = 2;
/// Most bytes of a copy: those of one bulk.
pub const STORE_BYTES_MAX: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"WEFTSTOR";
const PRELUDE_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// What a copy says in clear.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct StoreHeader {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The version of the content.
    #[n(1)]
    pub version: StoreVersion,
    /// The KMS that wraps the cluster key: `local`, `vault` or `aws-kms`.
    #[n(2)]
    pub kms_provider: String,
    /// Which of its keys.
    #[n(3)]
    pub kms_key: String,
    /// The cluster key as that KMS wrapped it.
    #[n(4)]
    pub cluster_key: KmsWrapped,
}

/// Why bytes are no copy that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Something else.
    #[error("it does not begin as a cluster store does")]
    NotAStore,
    /// Bytes are missing.
    #[error("it is cut off at {0} bytes")]
    Truncated(usize),
    /// Bytes have changed.
    #[error("its checksum does not hold")]
    Checksum,
    /// The header does not decode.
    #[error("its header cannot be read")]
    Header,
    /// Another version of the software wrote it.
    #[error("it has format {0}, and this version reads format {FORMAT}")]
    OtherFormat(u16),
    /// It is another cluster's.
    #[error("it is cluster {0}'s")]
    OtherCluster(ClusterId),
    /// It does not open under the key.
    #[error("it does not open under the cluster key")]
    Sealed(#[source] OpenStoreError),
}

/// A copy, whole by its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCopy {
    /// What it says in clear.
    pub header: StoreHeader,
    sealed: Bytes,
}

impl StoreCopy {
    /// Seals content under the version that the header names.
    pub fn seal(header: StoreHeader, key: &ClusterKey, content: &[u8], nonce: Nonce) -> Self {
        let sealed = key.seal_store(header.cluster, header.version, content, nonce).into();
        Self { header, sealed }
    }

    /// The content, wiped on drop.
    ///
    /// # Errors
    /// [`CopyError::OtherCluster`], [`CopyError::Sealed`].
    pub fn open(&self, cluster: ClusterId, key: &ClusterKey) -> Result<Zeroizing<Vec<u8>>, CopyError> {
        if self.header.cluster != cluster {
            return Err(CopyError::OtherCluster(self.header.cluster));
        }
        key.open_store(cluster, self.header.version, &self.sealed).map_err(CopyError::Sealed)
    }

    /// The bytes that a drive keeps.
    pub fn encode(&self) -> Bytes {
        let header = minicbor::to_vec(&self.header).expect("a vector takes all bytes");
        let mut out = Vec::with_capacity(PRELUDE_BYTES + header.len() + self.sealed.len() + CRC_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&u32::try_from(header.len()).expect("headers are short").to_le_bytes());
        out.extend_from_slice(&(self.sealed.len() as u64).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.sealed);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`CopyError`], never one of opening.
    pub fn decode(bytes: &Bytes) -> Result<Self, CopyError> {
        let truncated = CopyError::Truncated(bytes.len());
        let prelude = bytes.first_chunk::<PRELUDE_BYTES>().ok_or(truncated)?;
        if prelude[..8] != MAGIC {
            return Err(CopyError::NotAStore);
        }
        let format = u16::from_le_bytes([prelude[8], prelude[9]]);
        let header_len = u32::from_le_bytes(prelude[12..16].try_into().expect("4 bytes"));
        let body_len = u64::from_le_bytes(prelude[16..24].try_into().expect("8 bytes"));
        let total = u64::from(header_len)
            .checked_add(body_len)
            .and_then(|bytes| bytes.checked_add((PRELUDE_BYTES + CRC_BYTES) as u64))
            .ok_or(CopyError::Checksum)?;
        // Checked before the format: a flipped bit there must not pass for another one.
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(truncated)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
            return Err(if (bytes.len() as u64) < total { truncated } else { CopyError::Checksum });
        }
        if format != FORMAT {
            return Err(CopyError::OtherFormat(format));
        }
        let header_len = usize::try_from(header_len).map_err(|_| CopyError::Header)?;
        let (header, sealed) =
            content[PRELUDE_BYTES..].split_at_checked(header_len).ok_or(CopyError::Header)?;
        let header = minicbor::decode(header).map_err(|_| CopyError::Header)?;
        if sealed.len() as u64 != body_len {
            return Err(CopyError::Header);
        }
        Ok(Self { header, sealed: bytes.slice_ref(sealed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

    fn key() -> ClusterKey {
        ClusterKey::from_bytes(&[2; 32])
    }

    fn copy(content: &[u8]) -> StoreCopy {
        let header = StoreHeader {
            cluster: CLUSTER,
            version: StoreVersion::new(7),
            kms_provider: "local".to_owned(),
            kms_key: "kms.key".to_owned(),
            cluster_key: KmsWrapped::from_bytes(vec![3; 60]),
        };
        StoreCopy::seal(header, &key(), content, Nonce::from_random([4; 12]))
    }

    #[test]
    fn a_copy_gives_back_its_content_to_its_cluster_and_key_alone() {
        let read = StoreCopy::decode(&copy(b"the content").encode()).expect("decodes");
        assert_eq!(&read.open(CLUSTER, &key()).expect("opens")[..], b"the content");
        assert_eq!(read.open(ClusterId::from_bytes([9; 16]), &key()), Err(CopyError::OtherCluster(CLUSTER)));
        assert!(matches!(read.open(CLUSTER, &ClusterKey::from_bytes(&[9; 32])), Err(CopyError::Sealed(_))));
        let mut renumbered = read;
        renumbered.header.version = StoreVersion::new(8);
        assert!(matches!(renumbered.open(CLUSTER, &key()), Err(CopyError::Sealed(_))), "a raised version");
    }

    #[test]
    fn a_cut_or_a_change_anywhere_is_found() {
        let whole = copy(b"the content").encode();
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 0x20;
            assert!(StoreCopy::decode(&whole.slice(..at)).is_err(), "cut at {at}");
            let error = StoreCopy::decode(&flipped.into()).expect_err("changed");
            assert!(!matches!(error, CopyError::OtherFormat(_)), "byte {at}");
        }
    }

    #[test]
    fn another_format_is_not_taken_for_damage() {
        let mut bytes = copy(b"the content").encode().to_vec();
        bytes[8] = 7;
        let at = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(StoreCopy::decode(&bytes.into()), Err(CopyError::OtherFormat(7)));
    }

    #[test]
    fn nothing_of_the_content_is_in_the_clear() {
        let bytes = copy(b"a marker in the content").encode();
        assert!(!bytes.windows(8).any(|window| b"a marker".starts_with(window)));
        assert!(bytes.windows(7).any(|window| window == b"kms.key"), "the reference is in clear");
    }
}
