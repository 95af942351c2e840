//! Compute in a container.

use std::sync::Arc;

use weft_compute::{ComputeConfig, ComputeProcess, ComputeSettings};
use weft_resources::ComputeProcess as Resource;

use super::process::{ProcessError, Session};

/// Serves compute until it is told to stop.
pub(crate) async fn serve(session: &Session, resource: &Resource) -> Result<(), ProcessError> {
    let credentials = session.credentials()?;
    let config = ComputeConfig {
        container: session.place.container.name.to_string(),
        state: session.place.dir.resolve(&resource.state),
        management: session.management(),
        kms: Arc::from(session.kms().open()?),
        settings: ComputeSettings::default(),
    };
    let process = ComputeProcess::open(config, &credentials)?;
    let server = session.bind(resource.listen, &credentials, process.router())?;
    session.ready();
    process.serve(server, session.stopped()).await;
    Ok(())
}
