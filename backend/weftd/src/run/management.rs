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
        store: session.place.dir.resolve(std::path::Path::new(weft_resources::ClusterDir::STORE)),
        kms: Arc::from(session.kms().open()?),
    };
    let process = ManagementProcess::open(config, &credentials).await?;
    let server = session.bind(resource.listen, &credentials, process.router())?;
    session.ready();
    process.serve(server, session.stopped()).await;
    Ok(())
}
