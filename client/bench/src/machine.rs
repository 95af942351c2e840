//! The host that was measured on.

use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cores: usize,
    /// What they are.
    pub cpu: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The type of the filesystem at the path.
    pub filesystem: String,
    /// Largest UDP payload on the path to the drives, in bytes, as discovered; absent when it was not looked for.
    pub path_mtu: Option<u16>,
    /// Of which Weft.
    pub version: &'static str,
}

impl Machine {
    /// This host.
    pub(crate) fn here(filesystem: String) -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: cores(),
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal")
                .and_then(|text| kib(&text))
                .unwrap_or_default(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            filesystem,
            path_mtu: None,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// CPUs that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The first value of a `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    let kib: u64 = text.strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_says_what_it_is() {
        let machine = Machine::here("ext4".to_owned());
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.kernel.is_empty());
        assert_eq!(field("a\t: b c\na: d\n", "a").as_deref(), Some("b c"));
        assert_eq!(kib("12 kB"), Some(12 << 10));
    }
}
