//! What a wrapped key is for.

use weft_types::{ClusterId, FilesystemId};

/// Bound into every wrap: a key wrapped for one filesystem does not unwrap as another's. Not secret; services log it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncryptionContext {
    /// The cluster.
    pub cluster: ClusterId,
    /// The filesystem whose key it is; none for the cluster key.
    pub filesystem: Option<FilesystemId>,
}

impl EncryptionContext {
    /// For a cluster's own key.
    pub const fn of_cluster(cluster: ClusterId) -> Self {
        Self { cluster, filesystem: None }
    }

    /// For a filesystem's key.
    pub const fn of_filesystem(cluster: ClusterId, filesystem: FilesystemId) -> Self {
        Self { cluster, filesystem: Some(filesystem) }
    }

    /// As names and values, the way key services take it.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("weft-cluster", self.cluster.to_string())];
        pairs.extend(self.filesystem.map(|filesystem| ("weft-filesystem", filesystem.to_string())));
        pairs
    }

    /// As authenticated data: names and values, each behind its length (32 bits, big-endian).
    pub(crate) fn to_aad(self) -> Vec<u8> {
        let mut aad = Vec::new();
        for (name, value) in self.pairs() {
            for field in [name, value.as_str()] {
                let length = u32::try_from(field.len()).expect("names and ids are short");
                aad.extend_from_slice(&length.to_be_bytes());
                aad.extend_from_slice(field.as_bytes());
            }
        }
        aad
    }
}
