//! Pure: the JSON resource files and the folder layout of a cluster on one host.
//!
//! - [`ClusterDir`]: where everything of a cluster lies below one directory.
//! - [`ClusterFile`]: `cluster.json`, which makes a directory a cluster. Written last when a cluster is formed.
//! - [`Container`]: `containers/<name>.json`, one OS process and the processes that it hosts.
//! - [`RunState`]: `run/<name>.json`, what a container that was started has come to.
//! - [`FormSpec`], [`Formed`]: what `weftd form` is told, and what it answers.
//! - [`RecoverSpec`], [`Recovered`]: the same of `weftd recover`.
//!
//! Reading and writing of files is up to the caller: [`parse`] and [`to_json`] know texts and the paths to name in
//! an error.

mod cluster;
mod container;
mod directory;
mod document;
mod form;
mod name;
mod recover;
mod run;

pub use cluster::{ClusterFile, ContainerEntry};
pub use container::{
    ComputeProcess, Container, DrivePeer, DriveProcess, FrontendProcess, Kms, ManagementProcess, Peer,
    Process,
};
pub use directory::ClusterDir;
pub use document::{Document, DocumentError, parse, to_json};
pub use form::{FormSpec, Formed, MIN_DRIVE_BYTES, Ports};
pub use name::{ContainerName, NameError};
pub use recover::{RecoverSpec, Recovered, RecoveredDrive};
pub use run::{MountedAs, Phase, RunState, start_ticks};
