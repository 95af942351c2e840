//! Filesystems as rows of the cluster store, and what may be done to them. Pure.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use weft_keys::{KmsWrapped, WrappedKey};
use weft_types::{FilesystemId, KeyVersion, Timestamp};
use weft_wire::management::{FilesystemInfo, FilesystemKeyWrap, FilesystemRefusal};

use crate::contents::Contents;
use crate::sessions::SessionRow;
use crate::shards::ShardState;

/// Most filesystems of a cluster: a list of them fits one answer.
pub(crate) const FILESYSTEMS_MAX: usize = 1024;

/// A filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FilesystemRow {
    /// Its id.
    #[n(0)]
    pub id: FilesystemId,
    /// Its name, unique in the cluster.
    #[n(1)]
    pub name: String,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// Its data and metadata are being deleted; the row goes when they are gone.
    #[n(3)]
    pub deleting: bool,
    /// Every version of its filesystem key that may still wrap something, the newest last.
    #[n(4)]
    pub keys: Vec<FilesystemKeyRow>,
    /// Its metadata key, wrapped under the newest filesystem key.
    #[n(5)]
    pub metadata_key: WrappedKey,
    /// Its name key, wrapped under the newest filesystem key.
    #[n(6)]
    pub name_key: WrappedKey,
    /// Its metadata shards; one that never had an owner is absent.
    #[n(7)]
    pub shards: Vec<ShardState>,
    /// Its sessions that have not ended.
    #[n(8)]
    pub sessions: Vec<SessionRow>,
}

/// A version of a filesystem key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FilesystemKeyRow {
    /// The version.
    #[n(0)]
    pub version: KeyVersion,
    /// What the KMS answered.
    #[n(1)]
    pub wrapped: KmsWrapped,
}

/// A filesystem that is marked as being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Which one.
    pub filesystem: FilesystemId,
    /// Whether it was marked before.
    pub before: bool,
}

/// Whether a text can name a filesystem: 1 to 63 of `a-z`, `0-9`, `-`, `_` and `.`, the first a letter or digit.
pub(crate) fn is_filesystem_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let first = name.bytes().next().is_some_and(plain);
    first && name.len() <= 63 && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
}

impl FilesystemRow {
    /// As people see it.
    pub(crate) fn info(&self) -> FilesystemInfo {
        let newest = self.keys.iter().map(|key| key.version).max().unwrap_or_default();
        FilesystemInfo {
            id: self.id,
            name: self.name.clone(),
            created: self.created,
            deleting: self.deleting,
            key_version: newest,
        }
    }

    /// The keys as their owner gets them: the filesystem keys as the KMS wrapped them, the metadata and name keys under
    /// a filesystem key.
    pub(crate) fn wraps(&self) -> (Vec<FilesystemKeyWrap>, ByteVec, ByteVec) {
        let wrap = |key: &FilesystemKeyRow| FilesystemKeyWrap {
            version: key.version,
            wrapped: key.wrapped.as_bytes().to_vec().into(),
        };
        (self.keys.iter().map(wrap).collect(), encoded(&self.metadata_key), encoded(&self.name_key))
    }
}

fn encoded(key: &WrappedKey) -> ByteVec {
    minicbor::to_vec(key).expect("memory takes all").into()
}

impl Contents {
    /// Whether a filesystem of this name can be created.
    ///
    /// # Errors
    /// `BadName`, `Exists`, or `Store` when there are [`FILESYSTEMS_MAX`].
    pub(crate) fn can_create(&self, name: &str) -> Result<(), FilesystemRefusal> {
        if !is_filesystem_name(name) {
            return Err(FilesystemRefusal::BadName);
        }
        if self.position(name).is_ok() {
            return Err(FilesystemRefusal::Exists);
        }
        if self.filesystems.len() >= FILESYSTEMS_MAX {
            let reason = format!("it holds {FILESYSTEMS_MAX} filesystems, the most there may be");
            return Err(FilesystemRefusal::Store { reason });
        }
        Ok(())
    }

    /// Adds a filesystem.
    ///
    /// # Errors
    /// As [`can_create`](Self::can_create).
    pub(crate) fn create(&mut self, row: FilesystemRow) -> Result<FilesystemInfo, FilesystemRefusal> {
        self.can_create(&row.name)?;
        let info = row.info();
        let place = self.position(&row.name).err().unwrap_or_default();
        self.filesystems.insert(place, row);
        Ok(info)
    }

    /// Says of a filesystem that it is being deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn mark_deleting(&mut self, name: &str) -> Result<Marked, FilesystemRefusal> {
        let index = self.position(name).map_err(|_| FilesystemRefusal::NotFound)?;
        let row = &mut self.filesystems[index];
        let before = std::mem::replace(&mut row.deleting, true);
        Ok(Marked { filesystem: row.id, before })
    }

    /// Takes the mark back.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn unmark_deleting(&mut self, name: &str) -> Result<(), FilesystemRefusal> {
        let index = self.position(name).map_err(|_| FilesystemRefusal::NotFound)?;
        self.filesystems[index].deleting = false;
        Ok(())
    }

    /// Removes a filesystem that is being deleted, and with it the last wraps of its keys. Says whether it was there.
    pub(crate) fn remove_deleted(&mut self, id: FilesystemId) -> bool {
        let before = self.filesystems.len();
        self.filesystems.retain(|row| row.id != id || !row.deleting);
        self.filesystems.len() < before
    }

    /// The filesystems, by name.
    pub(crate) fn infos(&self) -> Vec<FilesystemInfo> {
        self.filesystems.iter().map(FilesystemRow::info).collect()
    }

    /// Those that are being deleted.
    pub(crate) fn deleting(&self) -> impl Iterator<Item = FilesystemId> + '_ {
        self.filesystems.iter().filter(|row| row.deleting).map(|row| row.id)
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.filesystems.binary_search_by(|row| row.name.as_str().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use proptest::prelude::*;

    #[test]
    fn names_are_plain() {
        let long = "a".repeat(64);
        for name in ["", ".", "-a", "_a", "A", "a b", "a/b", "é", "a\n", &long] {
            assert!(!is_filesystem_name(name), "{name:?}");
        }
        for name in ["default", "0", "a-b_c.d", &long[..63]] {
            assert!(is_filesystem_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_given_once_until_the_row_is_gone() {
        let mut contents = fixture::contents();
        let row = fixture::filesystem("home");
        assert_eq!(contents.create(row.clone()).map(|info| info.key_version), Ok(KeyVersion::new(1)));
        assert_eq!(contents.create(row.clone()), Err(FilesystemRefusal::Exists));
        assert!(!contents.remove_deleted(row.id), "what is not being deleted stays");
        assert_eq!(contents.mark_deleting("home"), Ok(Marked { filesystem: row.id, before: false }));
        assert_eq!(contents.unmark_deleting("home"), Ok(()));
        assert!(!contents.remove_deleted(row.id), "nor does one whose deletion was undone");
        assert!(contents.mark_deleting("home").is_ok_and(|marked| !marked.before));
        assert!(contents.mark_deleting("home").is_ok_and(|marked| marked.before));
        assert_eq!(contents.create(row.clone()), Err(FilesystemRefusal::Exists));
        assert_eq!(contents.deleting().collect::<Vec<_>>(), [row.id]);
        assert!(contents.remove_deleted(row.id));
        assert_eq!(contents.mark_deleting("home"), Err(FilesystemRefusal::NotFound));
        assert!(contents.create(row).is_ok());
    }

    #[test]
    fn an_owner_gets_the_keys_as_they_are_stored() {
        let row = fixture::filesystem("home");
        let (filesystem_keys, metadata_key, name_key) = row.wraps();
        assert_eq!(&filesystem_keys[0].wrapped[..], row.keys[0].wrapped.as_bytes());
        let read = |bytes: &[u8]| minicbor::decode::<WrappedKey>(bytes).expect("decodes");
        assert_eq!((read(&metadata_key), read(&name_key)), (row.metadata_key, row.name_key));
    }

    proptest! {
        #[test]
        fn filesystems_stand_by_name(names in proptest::collection::vec("[a-z]{1,4}", 0..20)) {
            let mut contents = fixture::contents();
            for name in &names {
                let _ = contents.create(fixture::filesystem(name));
            }
            prop_assert!(contents.infos().is_sorted_by(|a, b| a.name < b.name));
            for name in &names {
                prop_assert_eq!(contents.can_create(name), Err(FilesystemRefusal::Exists));
            }
        }
    }
}
