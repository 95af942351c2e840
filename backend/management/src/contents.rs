//! What the cluster store holds, and its encoding.

use minicbor::{Decode, Encode};
use weft_engine::store::{StoreContents, Voters};
use weft_layout::{ClusterMap, MapError};
use weft_types::{Epoch, FilesystemId};
use weft_wire::log::LogKey;
use zeroize::Zeroizing;

use crate::filesystem::FilesystemRow;
use crate::secret_text::SecretText;

/// The format of the contents that this build writes, and the newest it reads.
const FORMAT: u32 = 2;

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
    /// The drives whose majority decides about the store.
    #[n(4)]
    pub voters: Voters,
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
    /// An unreleased version wrote them.
    #[error("the cluster store has format {found}, which no released weft wrote: make the cluster anew")]
    OlderFormat {
        /// Their format.
        found: u32,
    },
    /// Nobody could decide about the store.
    #[error("the cluster store names no voting drives: restore it from a backup")]
    NoVoters,
}

impl Contents {
    /// Those of a new cluster.
    pub(crate) fn new(map: ClusterMap, authority: SecretText, voters: Voters) -> Self {
        Self { format: FORMAT, map, authority, filesystems: Vec::new(), voters }
    }

    /// The filesystem of this id.
    pub(crate) fn filesystem(&self, id: FilesystemId) -> Option<&FilesystemRow> {
        self.filesystems.iter().find(|row| row.id == id)
    }

    fn encoded_bytes(&self) -> usize {
        let mut counter = Counter(0);
        minicbor::encode(self, &mut counter).expect("counting takes all");
        counter.0
    }
}

impl StoreContents for Contents {
    type Error = ContentsError;

    /// The format is looked at before anything else.
    fn from_bytes(bytes: &[u8]) -> Result<Self, ContentsError> {
        let Head { format } = minicbor::decode(bytes).map_err(ContentsError::Malformed)?;
        match format {
            FORMAT => {}
            found if found > FORMAT => return Err(ContentsError::NewerFormat { found }),
            found => return Err(ContentsError::OlderFormat { found }),
        }
        let contents: Self = minicbor::decode(bytes).map_err(ContentsError::Malformed)?;
        contents.map.validate().map_err(ContentsError::Map)?;
        let voters = &contents.voters;
        if voters.current.is_empty() || voters.next.as_ref().is_some_and(Vec::is_empty) {
            return Err(ContentsError::NoVoters);
        }
        Ok(contents)
    }

    /// They hold the authority's key.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Reserved up front: a vector that grows leaves copies of the key behind.
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bytes()));
        minicbor::encode(self, &mut *out).expect("memory takes all");
        out
    }

    fn voters(&self) -> &Voters {
        &self.voters
    }

    fn ownership(&self, log: &LogKey) -> Option<Epoch> {
        self.shard(log.filesystem, log.shard).map(|row| row.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use weft_types::{MetadataShard, NodeId};

    #[test]
    fn contents_survive_their_encoding() {
        let mut contents = fixture::contents();
        contents.filesystems.push(fixture::filesystem("default"));
        let (shard, owner) = (MetadataShard::new(0), NodeId::from_bytes([7; 16]));
        let taken = contents.take_ownership("default", shard, owner, |_, _| false);
        let log = LogKey { filesystem: taken.expect("owned").filesystem.id, shard: MetadataShard::new(0) };
        let read = Contents::from_bytes(&contents.to_bytes()).expect("decodes");
        assert_eq!(read.map, contents.map);
        assert_eq!(read.filesystems, contents.filesystems);
        assert_eq!(read.authority.expose(), contents.authority.expose());
        assert_eq!(read.voters(), contents.voters());
        assert_eq!(read.ownership(&log), Some(Epoch::new(1)));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let contents = fixture::contents();
        let twisted = |twist: fn(&mut Contents)| {
            let mut twisted = contents.clone();
            twist(&mut twisted);
            Contents::from_bytes(&twisted.to_bytes()).err().expect("refused")
        };
        let error = twisted(|contents| contents.format = 3);
        assert!(matches!(error, ContentsError::NewerFormat { found: 3 }), "{error}");
        let error = twisted(|contents| contents.format = 1);
        assert!(matches!(error, ContentsError::OlderFormat { found: 1 }), "{error}");
        let error = twisted(|contents| _ = contents.map.groups[0].members.pop());
        assert!(matches!(error, ContentsError::Map(_)), "{error}");
        let error = twisted(|contents| contents.voters.current.clear());
        assert!(matches!(error, ContentsError::NoVoters), "{error}");
        let bytes = contents.to_bytes();
        for length in 0..bytes.len() {
            assert!(Contents::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
