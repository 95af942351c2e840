//! Which host this is, and which boot of it.

use weft_wire::compute::SessionHolder;

/// The host's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kernel's id of this boot; empty when it does not say.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Whether a session's holder ran on this boot of this host.
pub(crate) fn is_here(holder: &SessionHolder) -> bool {
    let boot = boot_id();
    !boot.is_empty() && holder.boot == boot && holder.host == host_name()
}
