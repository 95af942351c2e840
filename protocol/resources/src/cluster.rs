//! `cluster.json`: what makes a directory a cluster.

use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_types::{ByteCount, ClusterId, Role};

use crate::{ContainerName, Document, Peer};

/// The state file of a cluster on this host. It is the last file written when a cluster is formed: a directory
/// without it is no cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// [`Document::FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The cluster's id; every device and certificate of it carries the same.
    pub cluster: ClusterId,
    /// When it was formed, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Data and parity shards, such as `4+2`.
    pub protection: String,
    /// How many drives it was formed with.
    pub drives: u32,
    /// Bytes of each drive's device.
    pub drive_size: ByteCount,
    /// The address that every process listens on.
    pub host: IpAddr,
    /// The first of its ports.
    pub port_base: u16,
    /// Where the filesystem `default` is mounted; relative to the cluster's directory.
    pub mount: PathBuf,
    /// The management process.
    pub management: Peer,
    /// All its containers, in the order in which they are started.
    pub containers: Vec<ContainerEntry>,
}

/// A container of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerEntry {
    /// Its name; its file is `containers/<name>.json`.
    pub name: ContainerName,
    /// What its processes do.
    pub roles: Vec<Role>,
    /// Where its first process serves; absent for a frontend.
    pub address: Option<SocketAddr>,
}

impl ContainerEntry {
    /// Whether `weftd` runs it; a frontend is run by `weft`.
    pub fn is_backend(&self) -> bool {
        !self.roles.contains(&Role::Frontend)
    }
}

impl Document for ClusterFile {
    const KIND: &'static str = "cluster state file";
    const FORMAT: u32 = 1;
    const REMEDY: &'static str = "restore it from a backup, or name another directory with --dir";
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{DocumentError, parse, to_json};
    use std::path::Path;
    use weft_types::NodeId;

    pub(crate) fn sample() -> ClusterFile {
        ClusterFile {
            format: 1,
            cluster: ClusterId::from_bytes([1; 16]),
            created: 1_800_000_000,
            protection: "4+2".to_owned(),
            drives: 6,
            drive_size: ByteCount::new(1 << 30),
            host: [127, 0, 0, 1].into(),
            port_base: 7400,
            mount: PathBuf::from("mnt"),
            management: Peer { node: NodeId::from_bytes([2; 16]), address: ([127, 0, 0, 1], 7400).into() },
            containers: vec![ContainerEntry {
                name: ContainerName::drive(0),
                roles: vec![Role::Drive],
                address: Some(([127, 0, 0, 1], 7402).into()),
            }],
        }
    }

    fn read(text: &str) -> Result<ClusterFile, DocumentError> {
        parse(Path::new("/srv/cluster.json"), text.as_bytes())
    }

    #[test]
    fn a_state_file_survives_its_text() {
        assert_eq!(read(&to_json(&sample())).expect("reads"), sample());
    }

    #[test]
    fn every_cut_is_called_a_cut() {
        let text = to_json(&sample());
        for length in 0..text.trim_end().len() {
            let error = read(&text[..length]).expect_err("cut");
            assert!(matches!(error, DocumentError::Truncated { bytes, .. } if bytes == length), "{error}");
        }
    }

    #[test]
    fn bad_files_name_file_cause_and_next_step() {
        let text = to_json(&sample());
        let newer = text.replace("\"format\": 1", "\"format\": 2").replace("\"port_base\"", "\"ports\"");
        let rows = [
            (newer, "written by a newer weft (format 2, this build reads 1)"),
            (text.replace("\"format\": 1", "\"format\": 0"), "format 0, which does not exist"),
            (text.replace("\"drives\"", "\"disks\""), "unknown field `disks`"),
            (text.replace("drive0", "../drive0"), "is not a container name"),
            (text.replace("127.0.0.1:7402", "localhost"), "invalid socket address"),
            ("weft".to_owned(), "not a valid cluster state file"),
            ("{}".to_owned(), "missing field `format`"),
            ("{\"format\": -1}".to_owned(), "not a valid cluster state file"),
        ];
        for (text, cause) in rows {
            let line = read(&text).expect_err("refused").to_string();
            assert!(line.starts_with("/srv/cluster.json: ") && line.contains(cause), "{line}");
            assert!(line.contains("; ") && !line.contains('\n'), "{line}");
        }
    }
}
