//! A drive in a container.

use tokio::runtime::Handle;
use weft_drive::{DriveConfig, DriveIdentity, DriveProcess, DriveSettings};
use weft_resources::DriveProcess as Resource;
use weft_transport::{Pool, PoolSettings};
use weft_wire::management::NodeReport;

use super::heartbeat::Heart;
use super::process::{ProcessError, Session};

/// Serves a drive until it is told to stop.
pub(crate) async fn serve(session: &Session, resource: &Resource) -> Result<(), ProcessError> {
    let credentials = session.credentials()?;
    let identity = DriveIdentity {
        cluster: session.place.container.cluster,
        drive: resource.drive,
        incarnation: resource.incarnation,
    };
    let config = DriveConfig {
        path: session.place.dir.resolve(&resource.device),
        identity,
        create: None,
        settings: DriveSettings::default(),
    };
    let process = DriveProcess::open(&config)?;
    let authority = credentials.authority_verifier().map_err(ProcessError::Authority)?;
    let server = session.bind(resource.listen, &credentials, process.router(&authority))?;
    let pool = Pool::new(Handle::current(), &credentials, PoolSettings::default())?;
    let (drive, ear) = (process.drive(), process.store_ear());
    let heart = Heart::new(session, pool.failing_fast());
    let beat = heart.beat(
        move || NodeReport::Drive(drive.report()),
        // A drive that remembers the newest version tells an old store that was brought back from the real one.
        move |heard| {
            ear.hear(heard.store);
            core::future::ready(())
        },
    );
    let beating = tokio::spawn(beat);
    session.ready();
    process.serve(server, session.stopped()).await;
    beating.abort();
    pool.close().await;
    Ok(())
}
