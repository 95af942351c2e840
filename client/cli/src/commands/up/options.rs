//! What was typed, held against the cluster that is there.

use crate::arguments::UpArguments;
use crate::cluster::Cluster;
use crate::host::mounts;

/// An option that differs from the cluster's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} {typed} differs from the cluster's, which is {actual}")]
pub(crate) struct Conflict {
    /// The option.
    pub option: &'static str,
    /// What was typed.
    pub typed: String,
    /// What the cluster has.
    pub actual: String,
}

/// Refuses options that differ from the cluster's. What was not typed differs from nothing.
///
/// # Errors
/// [`Conflict`] about the first.
pub(super) fn check(cluster: &Cluster, typed: &UpArguments) -> Result<(), Conflict> {
    let file = &cluster.file;
    let text = |value: &dyn ToString| value.to_string();
    let mount = typed.mount.as_ref().map(|path| mounts::real_path(path).unwrap_or_else(|_| path.clone()));
    let own_mount = mounts::real_path(&cluster.mount_point()).unwrap_or_else(|_| cluster.mount_point());
    let size = |bytes: u64| format!("{} ({bytes} bytes)", weft_types::ByteCount::new(bytes));
    let rows = [
        ("--drives", typed.drives.as_ref().map(|count| text(count)), text(&file.drives)),
        ("--protection", typed.protection.as_ref().map(|shards| text(shards)), file.protection.clone()),
        ("--drive-size", typed.drive_size.map(|bytes| size(bytes.get())), size(file.drive_size.get())),
        ("--port-base", typed.port_base.as_ref().map(|port| text(port)), text(&file.port_base)),
        ("--mount", mount.map(|path| text(&path.display())), text(&own_mount.display())),
    ];
    let differing = rows.into_iter().find_map(|(option, typed, actual)| {
        let typed = typed.filter(|typed| *typed != actual)?;
        Some(Conflict { option, typed, actual })
    });
    differing.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use weft_resources::{ClusterDir, ClusterFile, Peer};
    use weft_types::{ByteCount, ClusterId, NodeId};

    fn cluster() -> Cluster {
        let file = ClusterFile {
            format: 1,
            cluster: ClusterId::from_bytes([1; 16]),
            created: 0,
            protection: "4+2".to_owned(),
            drives: 6,
            drive_size: ByteCount::new(2 << 30),
            host: [127, 0, 0, 1].into(),
            port_base: 7400,
            mount: PathBuf::from("mnt"),
            management: Peer { node: NodeId::from_bytes([2; 16]), address: ([127, 0, 0, 1], 7400).into() },
            containers: Vec::new(),
        };
        Cluster { dir: ClusterDir::new("/srv/weft"), file }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let none = UpArguments::default;
        let eight = "8+2".parse().expect("a protection");
        let rows = [
            (UpArguments { drives: Some(7), ..none() }, "--drives", ["7", "6"]),
            (UpArguments { protection: Some(eight), ..none() }, "--protection", ["8+2", "4+2"]),
            (
                UpArguments { drive_size: Some(ByteCount::new(1 << 30)), ..none() },
                "--drive-size",
                ["1.00 GiB", "2.00 GiB"],
            ),
            (UpArguments { port_base: Some(9000), ..none() }, "--port-base", ["9000", "7400"]),
            (
                UpArguments { mount: Some(PathBuf::from("/mnt")), ..none() },
                "--mount",
                ["/mnt", "/srv/weft/mnt"],
            ),
        ];
        for (typed, option, values) in rows {
            let conflict = check(&cluster(), &typed).expect_err(option);
            let line = conflict.to_string();
            assert_eq!(conflict.option, option);
            assert!(values.iter().all(|value| line.contains(value)), "{line}");
        }
    }

    #[test]
    fn the_same_values_and_no_values_are_fine() {
        let same = UpArguments {
            mount: Some(PathBuf::from("/srv/weft/mnt")),
            drives: Some(6),
            protection: Some("4+2".parse().expect("a protection")),
            drive_size: Some(ByteCount::new(2 << 30)),
            port_base: Some(7400),
            foreground: true,
        };
        assert_eq!(check(&cluster(), &same), Ok(()));
        assert_eq!(check(&cluster(), &UpArguments::default()), Ok(()));
    }
}
