//! What a person reads when a container does not run: one line with the cause and the next step.

use core::error::Error;
use std::io;

use weft_compute::StartError as ComputeError;
use weft_drive::{OpenError, StartError as DriveError, SuperblockError};
use weft_transport::BindError;

use super::RunError;
use super::claim::ClaimError;
use super::process::ProcessError;
use crate::files::FileError;

/// The error as one line: the chain of causes, then what to do.
pub(crate) fn explained(error: &RunError) -> anyhow::Error {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    match next_step(error) {
        Some(step) => anyhow::anyhow!("{line}; {step}"),
        None => anyhow::anyhow!("{line}"),
    }
}

/// What to do, where the causes do not say it themselves.
fn next_step(error: &RunError) -> Option<&'static str> {
    match error {
        RunError::File(error) | RunError::Claim(ClaimError::File(error)) => of_file(error),
        RunError::OtherName { .. } => Some("give the file its container's name again"),
        RunError::OtherCluster { .. } => Some("put the cluster's own files back"),
        RunError::Frontend { .. } => Some("use `weft mount`"),
        RunError::Nothing { .. } => Some("restore the file from a backup"),
        RunError::Claim(ClaimError::Running(_)) => Some("stop that one first"),
        RunError::Claim(ClaimError::Host { .. }) => Some("check the permissions and the disk"),
        RunError::Process { source, .. } => of_process(source),
        RunError::Host { .. } => Some("check the limits of this host"),
        RunError::Stuck { .. } => Some("look into its log for what it waited for"),
    }
}

fn of_file(error: &FileError) -> Option<&'static str> {
    match error {
        // They say it themselves.
        FileError::Document(_) => None,
        FileError::Read { .. } => Some("check the path, or restore the file from a backup"),
        FileError::Write { .. } => Some("make room on that filesystem, or check its permissions"),
    }
}

fn of_process(error: &ProcessError) -> Option<&'static str> {
    match error {
        ProcessError::File(error) => of_file(error),
        ProcessError::Fenced(_) => Some("stop the other one, then start this again with `weft up`"),
        ProcessError::Credentials { .. } | ProcessError::OtherIdentity { .. } => {
            Some("restore the file from a backup")
        }
        ProcessError::Bind(BindError::Address { source, .. }) => match source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "the port is taken: stop the process that has it, or form the cluster with another --port-base",
            ),
            _ => Some("check that the address is one of this host's"),
        },
        ProcessError::Bind(_) | ProcessError::Authority(_) => {
            Some("restore its certificate and key from a backup")
        }
        ProcessError::Drive(error) => Some(of_drive(error)),
        ProcessError::Compute(ComputeError::State { .. }) => Some("check the permissions and the disk"),
        ProcessError::Compute(ComputeError::Calls(_)) => {
            Some("restore its certificate and key from a backup")
        }
        ProcessError::Runtime(_) | ProcessError::Compute(ComputeError::Thread(_)) => {
            Some("check the limits of this host")
        }
        ProcessError::Ended => Some("look into its log"),
        // They say it themselves.
        ProcessError::Kms(_) | ProcessError::Management(_) => None,
    }
}

fn of_drive(error: &DriveError) -> &'static str {
    match error {
        DriveError::Missing(_) => "bring the device back; the other drives serve meanwhile",
        DriveError::Device(_) | DriveError::Host { .. } | DriveError::Format { .. } => {
            "stop the process that uses it, or check its permissions"
        }
        DriveError::Custody { .. } => "declare the drive blank; the other drives have what it had",
        DriveError::Open { source, .. } => match source {
            OpenError::OtherCluster { .. }
            | OpenError::OtherDrive { .. }
            | OpenError::OtherIncarnation { .. } => "put the cluster's own device back at this path",
            OpenError::Superblock(SuperblockError::NewerFormat { .. }) => {
                "use the version of weft that wrote it, or a later one"
            }
            OpenError::Superblock(SuperblockError::Io(_)) | OpenError::Io(_) => {
                "check the disk; the other drives serve meanwhile"
            }
            OpenError::Superblock(_) | OpenError::Truncated { .. } | OpenError::Layout => {
                "restore the device from a backup; the other drives serve meanwhile"
            }
        },
    }
}
