//! What of a compute process can be tuned.

use std::time::Duration;

/// How a compute process behaves.
#[derive(Debug, Clone, Copy)]
pub struct ComputeSettings {
    /// A session that is not renewed for so long ends.
    pub lease: Duration,
    /// Operations that a session may have under way.
    pub slots: u16,
    /// An extent's shards are deleted this long after the last reference to it went: a reader may have read the map
    /// before.
    pub deletion_delay: Duration,
    /// How often expired sessions and garbage are looked for.
    pub tick: Duration,
    /// How often management is told that this process lives.
    pub heartbeat: Duration,
    /// How often filesystems are looked for that nobody owns.
    pub look_for_filesystems: Duration,
}

impl Default for ComputeSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            slots: 256,
            deletion_delay: Duration::from_secs(15),
            tick: Duration::from_millis(500),
            heartbeat: Duration::from_secs(1),
            look_for_filesystems: Duration::from_secs(2),
        }
    }
}
