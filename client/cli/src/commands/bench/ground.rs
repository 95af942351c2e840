//! The processes behind a mount, counted and restarted.

use weft_bench::{Ground, ProcessUse, RestartError, process_use};
use weft_resources::ContainerName;

use crate::cluster::Cluster;
use crate::commands::{down, up};
use crate::container::{self, Observed};
use crate::error;
use crate::unmount::UnmountError;

/// A cluster of this host that is run from its directory.
pub(super) struct ClusterGround {
    cluster: Cluster,
    /// The mount that is measured.
    frontend: ContainerName,
}

/// A Weft mount of which nothing more is known here.
pub(super) struct ForeignGround {
    /// Why, in a few words.
    pub(super) why: &'static str,
}

/// What a step failed with, in one line with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Line(String);

impl ClusterGround {
    pub(super) const fn new(cluster: Cluster, frontend: ContainerName) -> Self {
        Self { cluster, frontend }
    }

    fn running(&self) -> Vec<Observed> {
        let containers = self.cluster.containers().unwrap_or_default();
        containers.into_iter().filter(|one| one.process.is_some()).collect()
    }

    /// Why stopping would be somebody else's loss.
    fn obstacle(&self) -> Option<&'static str> {
        let is_other = |one: &Observed| container::is_frontend(&one.name) && one.name != self.frontend;
        if self.frontend != ContainerName::frontend0() {
            return Some("only the mount that `weft up` makes is made anew");
        }
        self.running().iter().any(is_other).then_some("the cluster has other mounts")
    }
}

impl Ground for ClusterGround {
    fn processes(&mut self) -> Vec<ProcessUse> {
        let running = self.running();
        let counted = running.iter().filter_map(|one| {
            let process = one.process?;
            process_use(one.name.as_str(), process.pid, process.start_ticks)
        });
        counted.collect()
    }

    fn restart(&mut self) -> Result<(), RestartError> {
        if let Some(obstacle) = self.obstacle() {
            return Err(RestartError::Impossible(obstacle.to_owned()));
        }
        let broken = |line| RestartError::Broken(Box::new(Line(line)));
        match down::stop_all(&self.cluster) {
            Ok(()) => {}
            Err(down::DownError::Unmount(error @ UnmountError::InUse { .. })) => {
                return Err(RestartError::Impossible(error::chain(&error)));
            }
            Err(error) => return Err(broken(error::with_next_step(&error, error.next_step()))),
        }
        up::resume(&self.cluster).map_err(|error| broken(error::with_next_step(&error, error.next_step())))
    }
}

impl Ground for ForeignGround {
    fn processes(&mut self) -> Vec<ProcessUse> {
        Vec::new()
    }

    fn restart(&mut self) -> Result<(), RestartError> {
        Err(RestartError::Impossible(self.why.to_owned()))
    }
}
