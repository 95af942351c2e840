//! What `weftd form` is told, and what it answers.

use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_types::{ByteCount, ClusterId};

use crate::ClusterFile;

/// The smallest device of a drive.
pub const MIN_DRIVE_BYTES: ByteCount = ByteCount::new(64 << 20);

/// A cluster to be formed on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormSpec {
    /// Its directory: missing, empty, or left by a forming that was interrupted.
    pub directory: PathBuf,
    /// Data and parity shards, such as `4+2`.
    pub protection: String,
    /// How many drives; each gets a container and a failure domain of its own.
    pub drives: u32,
    /// Bytes of each drive; absent: what fits all of them into half of the free space.
    pub drive_size: Option<ByteCount>,
    /// The address that every process listens on.
    pub host: IpAddr,
    /// The first of its ports; see [`Ports`].
    pub port_base: u16,
    /// Where the filesystem `default` is to be mounted: absolute, or relative to the directory.
    pub mount: PathBuf,
}

/// A cluster was formed: printed as JSON on standard output. Nothing of it runs yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Formed {
    /// The cluster.
    pub cluster: ClusterId,
    /// What `cluster.json` says.
    pub state: ClusterFile,
    /// Whether the rest of an interrupted forming was removed first.
    pub cleaned: bool,
}

/// Which process listens where: management on the first port, compute on the second, the drives on those after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The address of all.
    pub host: IpAddr,
    /// The first port.
    pub base: u16,
}

impl Ports {
    /// The management process.
    pub const fn management(self) -> SocketAddr {
        SocketAddr::new(self.host, self.base)
    }

    /// The compute process; `None` past the last port.
    pub fn compute(self) -> Option<SocketAddr> {
        self.nth(1)
    }

    /// Drive number `index`; `None` past the last port.
    pub fn drive(self, index: u32) -> Option<SocketAddr> {
        self.nth(index.checked_add(2)?)
    }

    fn nth(self, offset: u32) -> Option<SocketAddr> {
        let port = u32::from(self.base).checked_add(offset)?;
        Some(SocketAddr::new(self.host, u16::try_from(port).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_end_where_ports_end() {
        let ports = Ports { host: [127, 0, 0, 1].into(), base: 65530 };
        assert_eq!(ports.drive(3).map(|address| address.port()), Some(65535));
        assert_eq!(ports.drive(4), None);
        assert_eq!(ports.drive(u32::MAX), None);
    }
}
