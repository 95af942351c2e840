//! What a path is, and which cluster is behind it.

use std::path::Path;

use weft_bench::{BenchError, ClusterFacts, PlainGround, Subject};
use weft_resources::Process;

use super::BenchCommandError;
use super::ground::{ClusterGround, ForeignGround};
use crate::cluster::Cluster;
use crate::host::mounts::{Mount, MountTable};
use crate::stop;

/// Looks at a path: on a Weft mount of the cluster in `dir`, on another one, or on any filesystem.
///
/// # Errors
/// [`BenchCommandError`] when it is nowhere.
pub(super) fn of(dir: &Path, path: &Path) -> Result<Subject, BenchCommandError> {
    let unusable = |source| BenchError::Path { path: path.to_owned(), source };
    let path = path.canonicalize().map_err(unusable)?;
    let table = MountTable::read().map_err(unusable)?;
    let mount = table.over(&path);
    let filesystem = kind(mount);
    let Some(mount) = mount.filter(|mount| mount.is_weft()) else {
        return Ok(Subject { path, filesystem, cluster: None, ground: Box::new(PlainGround) });
    };
    let foreign = |why| Subject {
        path: path.clone(),
        filesystem: filesystem.clone(),
        cluster: None,
        ground: Box::new(ForeignGround { why }),
    };
    let Ok(cluster) = Cluster::open(dir) else {
        return Ok(foreign("it is the mount of a cluster in another directory: name that with --dir"));
    };
    let Some(frontend) = stop::frontends_at(&cluster.dir, &mount.at)?.pop() else {
        return Ok(foreign("it is the mount of another cluster than the one in --dir"));
    };
    let facts = facts(&cluster, &table);
    let ground = Box::new(ClusterGround::new(cluster, frontend.name));
    Ok(Subject { path, filesystem, cluster: facts, ground })
}

/// The type of a mounted filesystem.
fn kind(mount: Option<&Mount>) -> String {
    mount.map_or_else(|| "unknown".to_owned(), |mount| mount.kind.to_string_lossy().into_owned())
}

/// What figures depend on; nothing when no drive has a file.
fn facts(cluster: &Cluster, table: &MountTable) -> Option<ClusterFacts> {
    let mut drives = Vec::new();
    for name in cluster.backend_names() {
        for process in cluster.container_file(&name).ok()?.processes {
            if let Process::Drive(drive) = process {
                drives.push(cluster.dir.resolve(&drive.device));
            }
        }
    }
    let folder = drives.first()?.parent()?.canonicalize().ok()?;
    Some(ClusterFacts {
        directory: cluster.dir.root().to_owned(),
        protection: cluster.file.protection.clone(),
        drives: drives.len(),
        drives_filesystem: kind(table.over(&folder)),
        drives_directory: folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_needs_no_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let subject = of(&folder.path().join("no-cluster"), folder.path()).expect("a directory");
        assert!(subject.cluster.is_none() && subject.filesystem != "unknown", "{}", subject.filesystem);
        let missing = of(folder.path(), &folder.path().join("missing"));
        let Err(BenchCommandError::Bench(error)) = missing else { panic!("a missing path is refused") };
        assert!(error.next_step().is_some(), "{error}");
    }
}
