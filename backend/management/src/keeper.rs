//! The open cluster store: one change at a time, durable before it is seen.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Mutex as Turn;
use weft_engine::{StoreError, StoreFile};

use crate::contents::Contents;
use crate::random;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError<R> {
    /// The change itself says no; nothing was written.
    #[error("refused")]
    Refused(R),
    /// The store was not written, or may not have been.
    #[error("the cluster store was not written")]
    Store(#[source] StoreError),
    /// The thread that writes came to grief.
    #[error("writing the cluster store was broken off")]
    BrokenOff,
}

/// Keeps the cluster store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Keeper {
    file: Arc<Turn<StoreFile>>,
    seen: Arc<Seen>,
}

struct Seen {
    contents: RwLock<Arc<Contents>>,
    /// Why the last write failed; none when it did not.
    fault: Mutex<Option<String>>,
}

impl Keeper {
    /// Keeps an open store whose contents these are.
    pub(crate) fn new(file: StoreFile, contents: Contents) -> Self {
        let seen = Seen { contents: RwLock::new(Arc::new(contents)), fault: Mutex::default() };
        Self { file: Arc::new(Turn::new(file)), seen: Arc::new(seen) }
    }

    /// The contents as they are durable.
    pub(crate) fn contents(&self) -> Arc<Contents> {
        Arc::clone(&self.seen.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the last write failed; `None` when it did not.
    pub(crate) fn fault(&self) -> Option<String> {
        self.seen.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies a change to the newest contents. When this returns `Ok` the change is durable, and visible to
    /// [`contents`](Self::contents). A change that was begun is finished also when nobody waits for it any more.
    ///
    /// After an error of the device the change may come back when the store is opened again; nobody was told that
    /// it was made, and the next change takes its place.
    pub(crate) async fn change<T, R>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T, R> + Send + 'static,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let mut file = Arc::clone(&self.file).lock_owned().await;
        let seen = Arc::clone(&self.seen);
        let work = move || {
            let mut next = Contents::clone(&seen.contents.read().unwrap_or_else(PoisonError::into_inner));
            let out = change(&mut next).map_err(ChangeError::Refused)?;
            let version = file.header().version;
            let written = file.replace(version, &next.encode(), random::nonce());
            *seen.fault.lock().unwrap_or_else(PoisonError::into_inner) =
                written.as_ref().err().map(|error| in_one_line(error));
            written.map_err(ChangeError::Store)?;
            *seen.contents.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            Ok(out)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(ChangeError::BrokenOff))
    }
}

/// An error and its causes, for those who do not see the log.
pub(crate) fn in_one_line(error: &dyn core::error::Error) -> String {
    let causes = core::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::path::Path;
    use weft_engine::StoreHeader;
    use weft_keys::{ClusterKey, KmsWrapped};
    use weft_types::{MapVersion, StoreVersion};

    const KEY: [u8; 32] = [8; 32];

    fn keeper(dir: &Path) -> Keeper {
        let contents = fixture::contents();
        let header = StoreHeader {
            cluster: contents.map.cluster,
            version: StoreVersion::default(),
            kms_provider: "local".to_owned(),
            kms_key: "k".to_owned(),
            cluster_key: KmsWrapped::from_bytes(vec![1]),
        };
        let key = ClusterKey::from_bytes(&KEY);
        let file = StoreFile::create(dir, header, key, &contents.encode(), random::nonce()).expect("created");
        Keeper::new(file, contents)
    }

    fn reread(dir: &Path) -> Contents {
        let cluster = fixture::contents().map.cluster;
        let opened = StoreFile::open(dir, cluster, ClusterKey::from_bytes(&KEY)).expect("opens");
        Contents::decode(cluster, &opened.content).expect("decodes")
    }

    #[tokio::test]
    async fn what_is_seen_is_durable_and_changes_follow_each_other() {
        let dir = tempfile::tempdir().expect("tempdir");
        let keeper = keeper(dir.path());
        let raise = |contents: &mut Contents| {
            contents.map.version = contents.map.version.next();
            Ok::<_, ()>(contents.map.version)
        };
        let versions = tokio::join!(keeper.change(raise), keeper.change(raise), keeper.change(raise));
        let mut versions =
            [versions.0, versions.1, versions.2].map(|version| version.expect("changed").get());
        versions.sort_unstable();
        assert_eq!(versions, [2, 3, 4]);
        assert_eq!(keeper.contents().map.version, MapVersion::new(4));
        drop(keeper);
        assert_eq!(reread(dir.path()).map.version, MapVersion::new(4));
    }

    #[tokio::test]
    async fn a_change_that_is_refused_leaves_no_trace() {
        let dir = tempfile::tempdir().expect("tempdir");
        let keeper = keeper(dir.path());
        let refused = keeper.change(|contents| {
            contents.map.version = MapVersion::new(99);
            Err::<(), _>("no")
        });
        assert!(matches!(refused.await, Err(ChangeError::Refused("no"))));
        assert_eq!(keeper.contents().map.version, MapVersion::new(1));
    }

    #[tokio::test]
    async fn what_was_not_written_is_not_seen_and_is_said() {
        let dir = tempfile::tempdir().expect("tempdir");
        let keeper = keeper(dir.path());
        let store = dir.path().to_owned();
        std::fs::remove_dir_all(&store).expect("removed");
        let failed = keeper.change(|contents| {
            contents.map.version = MapVersion::new(9);
            Ok::<_, ()>(())
        });
        assert!(matches!(failed.await, Err(ChangeError::Store(_))));
        assert_eq!(keeper.contents().map.version, MapVersion::new(1));
        let fault = keeper.fault().expect("said");
        assert!(fault.contains("No such file"), "the cause is said too: {fault}");
        std::fs::create_dir(&store).expect("made");
        keeper.change(|_| Ok::<_, ()>(())).await.expect("written again");
        assert_eq!(keeper.fault(), None);
    }
}
