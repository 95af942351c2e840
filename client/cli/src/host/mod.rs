//! This host: its processes, mounts, devices, ports and files.

pub(crate) mod files;
pub(crate) mod fuse;
pub(crate) mod identity;
pub(crate) mod launch;
pub(crate) mod mounts;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod users;
pub(crate) mod waiting;
pub(crate) mod weftd;
