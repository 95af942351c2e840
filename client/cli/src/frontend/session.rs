//! Opening the filesystem's session, taking over from a dead process of this host.

use std::time::{Duration, Instant};

use weft_core::{Core, CoreConfig, MountError};
use weft_fuse::MountOptions;
use weft_pki::Credentials;
use weft_wire::compute::{OpenRefusal, SessionHolder};

use super::{FrontendError, SharedCore};
use crate::admin;
use crate::cluster::Cluster;
use crate::host::{files, identity, process};
use crate::start::MountPlan;

/// How long metadata that cannot be opened is asked for, and how often.
const METADATA_PATIENCE: Duration = Duration::from_secs(20);
const METADATA_RETRY: Duration = Duration::from_millis(500);
/// What the processes behind mounts are called: by their program, or by the link to it when it was replaced.
const COMMANDS: [&str; 2] = ["weft", "exe"];

/// Opens the filesystem, and ends sessions of processes of this host that are dead.
///
/// # Errors
/// [`FrontendError`]; nothing is left open.
pub(super) fn open(
    cluster: &Cluster,
    plan: &MountPlan,
    options: &MountOptions,
) -> Result<SharedCore, FrontendError> {
    let mount = || match config(cluster, plan, options) {
        Ok(config) => Ok(Core::mount(config)),
        Err(error) => Err(error),
    };
    let core = first_answer(mount)?.map_err(|error| explained(plan, error))?;
    core.runtime().block_on(core.bury(has_died));
    Ok(core)
}

/// Asks until the metadata can be opened, or until that has failed for too long: after a crash the drives of its log
/// may come later than the process that reads it.
fn first_answer<T>(
    mut mount: impl FnMut() -> Result<Result<T, MountError>, FrontendError>,
) -> Result<Result<T, MountError>, FrontendError> {
    let patience = Instant::now() + METADATA_PATIENCE;
    loop {
        match mount()? {
            Err(MountError::Refused(OpenRefusal::MetadataUnavailable { reason }))
                if Instant::now() < patience =>
            {
                tracing::warn!(reason, "the metadata cannot be opened yet");
                std::thread::sleep(METADATA_RETRY);
            }
            answer => return Ok(answer),
        }
    }
}

fn explained(plan: &MountPlan, error: MountError) -> FrontendError {
    let filesystem = plan.filesystem.clone();
    match error {
        MountError::Refused(OpenRefusal::NoSuchFilesystem) => FrontendError::NoSuchFilesystem(filesystem),
        source => FrontendError::Open { filesystem, source: Box::new(source) },
    }
}

fn config(cluster: &Cluster, plan: &MountPlan, options: &MountOptions) -> Result<CoreConfig, FrontendError> {
    let path = cluster.dir.resolve(&cluster.frontend()?.credentials);
    let text = files::read_existing(&path)?;
    let credentials = Credentials::from_pem(&String::from_utf8_lossy(&text))
        .map_err(|source| FrontendError::Credentials { path, source })?;
    Ok(CoreConfig {
        management: admin::management(cluster),
        credentials,
        filesystem: plan.filesystem.clone(),
        read_only: options.read_only,
        holder: SessionHolder {
            host: identity::host_name(),
            boot: identity::boot_id(),
            pid: std::process::id(),
            mount: plan.at.to_string_lossy().into_owned(),
        },
        container: plan.container.to_string(),
        memory: options.memory,
        access_times: options.access_times,
    })
}

/// Whether the holder ran here and does no more. Its id may be another program's by now, or this process's own.
fn has_died(holder: &SessionHolder) -> bool {
    if !identity::is_here(holder) {
        return false;
    }
    let reused = || !COMMANDS.contains(&process::command_name(holder.pid).as_str());
    holder.pid == std::process::id() || process::Process::of_pid(holder.pid).is_none() || reused()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_that_cannot_be_opened_yet_is_asked_for_again() {
        let mut answers = 0;
        let opened = first_answer(|| {
            answers += 1;
            let reason = "a drive of the log is not there yet".to_owned();
            let later = MountError::Refused(OpenRefusal::MetadataUnavailable { reason });
            Ok(if answers < 3 { Err(later) } else { Ok(answers) })
        });
        assert_eq!(opened.expect("asked").expect("opened"), 3);
        let never = first_answer(|| Ok(Err::<(), _>(MountError::Refused(OpenRefusal::Deleting))));
        assert!(never.expect("asked").is_err(), "other refusals stand");
    }

    #[test]
    fn only_a_dead_process_of_this_boot_of_this_host_is_taken_over_from() {
        let here = |pid| SessionHolder {
            host: identity::host_name(),
            boot: identity::boot_id(),
            pid,
            mount: "/mnt".to_owned(),
        };
        assert!(has_died(&here(u32::MAX)), "no process has this id");
        assert!(has_died(&here(1)), "the first process is no mount");
        assert!(!has_died(&SessionHolder { boot: "another".to_owned(), ..here(u32::MAX) }));
        assert!(!has_died(&SessionHolder { host: "another.host".to_owned(), ..here(u32::MAX) }));
    }
}
