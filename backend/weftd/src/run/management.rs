//! Management in a container.

use std::sync::Arc;

use weft_management::{ManagementConfig, ManagementProcess};
use weft_resources::ManagementProcess as Resource;

use super::process::{ProcessError, Session};

/// Serves management until it is told to stop.
pub(crate) async fn serve(session: &Session, resource: &Resource) -> Result<(), ProcessError> {
    let credentials = session.credentials()?;
    let config = ManagementConfig {
        cluster: session.place.container.cluster,
        drives: resource.drives.iter().map(|drive| (session.drive(drive), drive.drive)).collect(),
        kms: Arc::from(session.kms().open()?),
    };
    // It waits for drives, which may never come: it must stop when it is told to.
    let process = tokio::select! {
        process = ManagementProcess::open(config, &credentials) => process?,
        () = session.stopped() => return Ok(()),
    };
    let server = session.bind(resource.listen, &credentials, process.router())?;
    session.ready();
    Ok(process.serve(server, session.stopped()).await?)
}
