//! `weft container list`

use core::net::SocketAddr;

use serde::Serialize;
use weft_resources::ContainerName;
use weft_types::Role;

use crate::cluster::Cluster;
use crate::container::{Observed, State};
use crate::error::CommandError;
use crate::output;

/// A row.
#[derive(Debug, Serialize)]
struct Row {
    name: ContainerName,
    roles: Vec<Role>,
    pid: Option<u32>,
    state: State,
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Observed> for Row {
    fn from(one: Observed) -> Self {
        let pid = one.process.map(|process| process.pid);
        let mount = one.mount.filter(|_| pid.is_some()).map(|path| path.to_string_lossy().into_owned());
        let Observed { name, roles, state, address, reason, .. } = one;
        Self { name, roles, pid, state, address, mount, reason }
    }
}

/// Lists the containers as they are on this host, whether or not the cluster answers.
///
/// # Errors
/// [`CommandError`] when their run states cannot be read.
pub(crate) fn run(cluster: &Cluster, json: bool) -> Result<(), CommandError> {
    let rows: Vec<Row> = cluster.containers()?.into_iter().map(Row::from).collect();
    if json {
        return Ok(output::json(&rows)?);
    }
    let rows = rows.into_iter().map(|row| {
        let place = row.mount.or_else(|| row.address.map(|address| address.to_string()));
        [
            row.name.to_string(),
            row.roles.iter().map(|role| role.word()).collect::<Vec<_>>().join("+"),
            row.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            row.state.word().to_owned(),
            place.unwrap_or_default(),
            row.reason.unwrap_or_default(),
        ]
    });
    Ok(output::table(["NAME", "ROLES", "PID", "STATE", "ADDRESS", ""], rows.collect(), "no containers")?)
}
