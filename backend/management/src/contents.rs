//! What the cluster store holds, and its encoding.

use minicbor::{Decode, Encode};
use weft_layout::{ClusterMap, MapError};
use weft_types::ClusterId;
use zeroize::Zeroizing;

use crate::filesystem::FilesystemRow;
use crate::secret_text::SecretText;

/// The format of the contents that this build writes, and the newest it reads.
const FORMAT: u32 = 1;

/// The contents of the cluster store: one authority for all that the cluster must never forget or see twice.
///
/// A copy shares the authority's key instead of duplicating it. Without `Debug`: it holds that key.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Contents {
    /// The format of what follows.
    #[n(0)]
    format: u32,
    /// The cluster map.
    #[n(1)]
    pub map: ClusterMap,
    /// The cluster's certificate authority with its key, PEM.
    #[n(2)]
    pub authority: SecretText,
    /// The filesystems, by name.
    #[n(3)]
    pub filesystems: Vec<FilesystemRow>,
}

/// Counts what is written.
struct Counter(usize);

impl minicbor::encode::Write for &mut Counter {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// The format alone, read before the rest is believed.
#[derive(Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    format: u32,
}

/// Why the contents of a store that opened are not used.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A newer version wrote them.
    #[error(
        "the cluster store was written by a newer weft (format {found}, this build reads {FORMAT}); use that version of weft or a later one"
    )]
    NewerFormat {
        /// Their format.
        found: u32,
    },
    /// They do not decode: whoever sealed them wrote something else.
    #[error("the cluster store opened but does not decode: restore it from a backup")]
    Malformed(#[source] minicbor::decode::Error),
    /// The map in it contradicts itself.
    #[error("the cluster store holds a map that cannot be: restore it from a backup")]
    Map(#[source] MapError),
    /// They are another cluster's.
    #[error("the cluster store is of cluster {found}, not of {expected}: name the right directory")]
    OtherCluster {
        /// Whose they are.
        found: ClusterId,
        /// Whose they should be.
        expected: ClusterId,
    },
}

impl Contents {
    /// Those of a new cluster.
    pub(crate) fn new(map: ClusterMap, authority: SecretText) -> Self {
        Self { format: FORMAT, map, authority, filesystems: Vec::new() }
    }

    /// The bytes to seal. They hold the authority's key and are wiped on drop.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Reserved up front: a vector that grows leaves copies of the key behind.
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bytes()));
        minicbor::encode(self, &mut *out).expect("memory takes all");
        out
    }

    fn encoded_bytes(&self) -> usize {
        let mut counter = Counter(0);
        minicbor::encode(self, &mut counter).expect("counting takes all");
        counter.0
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`ContentsError`]; the format is looked at before anything else.
    pub(crate) fn decode(expected: ClusterId, bytes: &[u8]) -> Result<Self, ContentsError> {
        let Head { format } = minicbor::decode(bytes).map_err(ContentsError::Malformed)?;
        if format > FORMAT {
            return Err(ContentsError::NewerFormat { found: format });
        }
        let contents: Self = minicbor::decode(bytes).map_err(ContentsError::Malformed)?;
        contents.map.validate().map_err(ContentsError::Map)?;
        if contents.map.cluster != expected {
            return Err(ContentsError::OtherCluster { found: contents.map.cluster, expected });
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn contents_survive_their_encoding() {
        let mut contents = fixture::contents();
        contents.filesystems.push(fixture::filesystem("default"));
        let read = Contents::decode(contents.map.cluster, &contents.encode()).expect("decodes");
        assert_eq!(read.map, contents.map);
        assert_eq!(read.filesystems, contents.filesystems);
        assert_eq!(read.authority.expose(), contents.authority.expose());
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let contents = fixture::contents();
        let cluster = contents.map.cluster;
        let mut newer = contents.clone();
        newer.format = 2;
        let error = Contents::decode(cluster, &newer.encode()).err().expect("newer");
        assert!(matches!(error, ContentsError::NewerFormat { found: 2 }), "{error}");
        let mut twisted = contents.clone();
        twisted.map.groups[0].members.pop();
        let error = Contents::decode(cluster, &twisted.encode()).err().expect("twisted");
        assert!(matches!(error, ContentsError::Map(_)), "{error}");
        let error =
            Contents::decode(ClusterId::from_bytes([9; 16]), &contents.encode()).err().expect("other");
        assert!(matches!(error, ContentsError::OtherCluster { .. }), "{error}");
        let bytes = contents.encode();
        for length in 0..bytes.len() {
            assert!(Contents::decode(cluster, &bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
