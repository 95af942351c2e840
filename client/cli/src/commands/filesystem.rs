//! `weft fs create`, `list` and `delete`

use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use weft_wire::management::{
    CreateFilesystem, DeleteFilesystem, FilesystemInfo, FilesystemRefusal, ListFilesystems,
};

use crate::admin::{Admin, AdminError};
use crate::arguments::FsCommand;
use crate::cluster::Cluster;
use crate::error::CommandError;
use crate::output;

/// Why a filesystem was not created or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesystemError {
    /// Management said no.
    #[error("filesystem {name:?}: {refusal}")]
    Refused {
        /// The filesystem.
        name: String,
        /// Why not.
        refusal: FilesystemRefusal,
    },
    /// The person said no.
    #[error("filesystem {0:?} was not deleted")]
    NotConfirmed(String),
}

impl FilesystemError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> Option<String> {
        let Self::Refused { refusal, .. } = self else {
            return Some("answer with its name, or use --yes".to_owned());
        };
        let step = match refusal {
            FilesystemRefusal::BadName => return None,
            FilesystemRefusal::Exists => "choose another name, or see `weft fs list`",
            FilesystemRefusal::NotFound => "see `weft fs list`",
            FilesystemRefusal::Mounted { .. } => "unmount it first with `weft umount PATH`",
            FilesystemRefusal::Keys { .. } => "see `weft status` for the KMS",
            FilesystemRefusal::Store { .. } => "make room on the disk that holds the cluster's directory",
            FilesystemRefusal::NoCompute => "see `weft container list`; `weft up` starts what is missing",
        };
        Some(step.to_owned())
    }
}

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    created_seconds: i64,
    state: &'static str,
    key_version: u32,
}

impl From<&FilesystemInfo> for Row {
    fn from(info: &FilesystemInfo) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            created_seconds: info.created.seconds,
            state: if info.deleting { "deleting" } else { "active" },
            key_version: info.key_version.get(),
        }
    }
}

/// Does what was typed; lists when nothing was.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn run(cluster: &Cluster, command: Option<FsCommand>, json: bool) -> Result<(), CommandError> {
    let admin = Admin::new(cluster)?;
    match command.unwrap_or(FsCommand::List) {
        FsCommand::List => show(&list(&admin)?, json),
        FsCommand::Create { name } => {
            let made = create(&admin, &name)?;
            let text = format!("filesystem {name} is created; mount it with `weft mount {name} PATH`");
            if json { Ok(output::json(&Row::from(&made))?) } else { Ok(output::line(text)?) }
        }
        FsCommand::Delete { name, yes } => {
            if !yes && !confirmed(&name) {
                return Err(FilesystemError::NotConfirmed(name).into());
            }
            delete(&admin, &name)?;
            let done = serde_json::json!({ "name": name, "deleted": true });
            if json {
                Ok(output::json(&done)?)
            } else {
                Ok(output::line(format!("filesystem {name} is deleted"))?)
            }
        }
    }
}

/// The filesystems, by name.
///
/// # Errors
/// [`AdminError`] when management does not answer.
pub(crate) fn list(admin: &Admin) -> Result<Vec<FilesystemInfo>, AdminError> {
    Ok(admin.ask(&ListFilesystems {})?.filesystems)
}

/// Creates a filesystem.
///
/// # Errors
/// [`CommandError`] when management does not answer or says no.
pub(crate) fn create(admin: &Admin, name: &str) -> Result<FilesystemInfo, CommandError> {
    let made = admin.call(&CreateFilesystem { name: name.to_owned() })?;
    Ok(made.map_err(|refusal| FilesystemError::Refused { name: name.to_owned(), refusal })?)
}

fn delete(admin: &Admin, name: &str) -> Result<(), CommandError> {
    let gone = admin.call(&DeleteFilesystem { name: name.to_owned() })?;
    gone.map_err(|refusal| FilesystemError::Refused { name: name.to_owned(), refusal })?;
    Ok(())
}

/// Asks on a terminal; a script that deletes has said what it wants.
fn confirmed(name: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return true;
    }
    let _ = write!(
        std::io::stderr(),
        "Everything in filesystem {name} will be gone. Type its name to delete it: "
    );
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == name
}

fn show(filesystems: &[FilesystemInfo], json: bool) -> Result<(), CommandError> {
    let rows: Vec<_> = filesystems.iter().map(Row::from).collect();
    if json {
        return Ok(output::json(&rows)?);
    }
    let rows = rows.into_iter().map(|row| {
        [row.name, row.state.to_owned(), age(row.created_seconds), row.key_version.to_string(), row.id]
    });
    let nothing = "no filesystems; create one with `weft fs create NAME`";
    Ok(output::table(["NAME", "STATE", "AGE", "KEY", "ID"], rows.collect(), nothing)?)
}

/// How long ago something was, in the largest unit that says more than one.
fn age(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let passed = now.saturating_sub(then).as_secs();
    match passed {
        0..120 => format!("{passed} s"),
        120..7200 => format!("{} min", passed / 60),
        7200..172_800 => format!("{} h", passed / 3600),
        _ => format!("{} days", passed / 86_400),
    }
}
