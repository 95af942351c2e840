//! What is to be formed, checked before anything is touched.

use std::path::{Component, Path, PathBuf};

use weft_layout::{MAX_DRIVES, Protection, ProtectionError};
use weft_resources::{FormSpec, MIN_DRIVE_BYTES, Ports};
use weft_types::ByteCount;

/// Devices are a multiple of this.
const GRAIN: u64 = 1 << 20;

/// A spec that can be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) protection: Protection,
    pub(crate) drives: u32,
    pub(crate) drive_size: ByteCount,
    pub(crate) ports: Ports,
    pub(crate) mount: PathBuf,
}

/// Why a spec cannot be fulfilled. One line with the arithmetic and the next step.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// No such protection.
    #[error(transparent)]
    Protection(#[from] ProtectionError),
    /// A stripe does not fit.
    #[error(
        "protection {protection} needs {} drives ({} data + {} parity shards, each in a failure domain of its own), \
         and {drives} were asked for; ask for more drives or another protection",
        protection.width(), protection.data(), protection.parity()
    )]
    TooFewDrives {
        /// The protection.
        protection: Protection,
        /// Drives asked for.
        drives: u32,
    },
    /// More than a map holds.
    #[error("{drives} drives are more than the {MAX_DRIVES} that a cluster can have; ask for fewer")]
    TooManyDrives {
        /// Drives asked for.
        drives: u32,
    },
    /// No store fits on such a device.
    #[error("drives of {size} are too small, the least is {MIN_DRIVE_BYTES}; ask for larger drives")]
    DriveTooSmall {
        /// The size asked for.
        size: ByteCount,
    },
    /// Even the smallest drives do not fit.
    #[error(
        "{drives} drives of the least size, {MIN_DRIVE_BYTES}, do not fit into half of the {free} that are free; \
         make room, or choose another directory"
    )]
    NoRoom {
        /// Drives asked for.
        drives: u32,
        /// Bytes that are free.
        free: ByteCount,
    },
    /// The drives asked for do not fit.
    #[error(
        "{drives} drives of {size} take {needed}, and {free} are free; \
         make room, or ask for smaller drives or fewer"
    )]
    TooLarge {
        /// Drives asked for.
        drives: u32,
        /// The size of each.
        size: ByteCount,
        /// All together.
        needed: ByteCount,
        /// Bytes that are free.
        free: ByteCount,
    },
    /// Not enough ports.
    #[error(
        "{needed} ports from {base} on are needed, and the ports are 1 to 65535; choose another first port"
    )]
    Ports {
        /// The first port asked for.
        base: u16,
        /// How many are needed.
        needed: u32,
    },
    /// Others could not find an address that stands for all.
    #[error("{0} is no address that others can call; name one address of this host")]
    Host(std::net::IpAddr),
    /// The mount would hide the cluster, or lie among its files.
    #[error("the mount point {} would hide the cluster's own files; choose another", .0.display())]
    Mount(PathBuf),
}

impl Plan {
    /// Checks a spec. `free` says how many bytes the filesystem can take; it is asked when all else is right.
    pub(crate) fn new<E>(
        spec: &FormSpec,
        free: impl FnOnce() -> Result<ByteCount, E>,
    ) -> Result<Result<Self, PlanError>, E> {
        let checked = Self::without_room(spec);
        let free = if checked.is_ok() { free()? } else { ByteCount::default() };
        Ok(checked.and_then(|plan| plan.with_room(spec.drive_size, free)))
    }

    fn without_room(spec: &FormSpec) -> Result<Self, PlanError> {
        let protection: Protection = spec.protection.parse()?;
        let drives = spec.drives;
        if drives < protection.width().into() {
            return Err(PlanError::TooFewDrives { protection, drives });
        }
        if usize::try_from(drives).map_or(true, |drives| drives > MAX_DRIVES) {
            return Err(PlanError::TooManyDrives { drives });
        }
        if spec.host.is_unspecified() || spec.host.is_multicast() {
            return Err(PlanError::Host(spec.host));
        }
        let ports = Ports { host: spec.host, base: spec.port_base };
        if spec.port_base == 0 || ports.drive(drives - 1).is_none() {
            return Err(PlanError::Ports { base: spec.port_base, needed: drives + 2 });
        }
        if hides(&spec.directory, &spec.mount) {
            return Err(PlanError::Mount(spec.mount.clone()));
        }
        let drive_size = spec.drive_size.unwrap_or(MIN_DRIVE_BYTES);
        Ok(Self { protection, drives, drive_size, ports, mount: spec.mount.clone() })
    }

    fn with_room(self, asked: Option<ByteCount>, free: ByteCount) -> Result<Self, PlanError> {
        let drives = self.drives;
        let grained = |bytes: u64| ByteCount::new(bytes - bytes % GRAIN);
        let size = match asked {
            Some(size) => grained(size.get()),
            None => grained(free.get() / 2 / u64::from(drives)),
        };
        if size < MIN_DRIVE_BYTES {
            return Err(match asked {
                Some(size) => PlanError::DriveTooSmall { size },
                None => PlanError::NoRoom { drives, free },
            });
        }
        let needed = ByteCount::new(size.get().saturating_mul(drives.into()));
        if needed > free {
            return Err(PlanError::TooLarge { drives, size, needed, free });
        }
        Ok(Self { drive_size: size, ..self })
    }
}

/// Whether a mount there would cover the cluster's directory, or lie in one of its own folders.
fn hides(directory: &Path, mount: &Path) -> bool {
    let (directory, mount) = (plain(directory), plain(&directory.join(mount)));
    let own = weft_resources::ClusterDir::new(directory.clone()).own_entries();
    directory.starts_with(&mount) || own.iter().any(|entry| mount.starts_with(entry))
}

/// The path without `.` and, as far as its text says, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const MIB: u64 = 1 << 20;

    fn spec() -> FormSpec {
        FormSpec {
            directory: "/srv/weft".into(),
            protection: "4+2".to_owned(),
            drives: 6,
            drive_size: Some(ByteCount::new(100 * MIB)),
            host: [127, 0, 0, 1].into(),
            port_base: 7400,
            mount: "mnt".into(),
        }
    }

    fn plan(spec: &FormSpec, free: u64) -> Result<Plan, PlanError> {
        let Ok(plan) = Plan::new(spec, || Ok::<_, Infallible>(ByteCount::new(free)));
        plan
    }

    #[test]
    fn what_cannot_be_formed_says_why() {
        type Spoil = fn(&mut FormSpec);
        let rows: [(Spoil, u64, &str); 14] = [
            (|s| s.protection = "4-2".to_owned(), u64::MAX, "not of the form N+M"),
            (|s| s.protection = "4+3".to_owned(), u64::MAX, "parity shards must be 2 or 4"),
            (|s| s.drives = 5, u64::MAX, "needs 6 drives (4 data + 2 parity shards, each in a failure"),
            (|s| s.drives = 0, u64::MAX, "needs 6 drives"),
            (|s| s.drives = 5000, u64::MAX, "more than the 1024"),
            (|s| s.drive_size = Some(ByteCount::new(MIB)), u64::MAX, "drives of 1.00 MiB are too small"),
            (
                |s| s.drive_size = Some(ByteCount::new(1 << 63)),
                1 << 40,
                "take 16.0 EiB, and 1.00 TiB are free",
            ),
            (|_| (), 599 * MIB, "6 drives of 100 MiB take 600 MiB, and 599 MiB are free"),
            (|s| s.drive_size = None, 767 * MIB, "do not fit into half of the 767 MiB"),
            (|s| s.port_base = 0, u64::MAX, "ports are 1 to 65535"),
            (|s| s.port_base = 65529, u64::MAX, "8 ports from 65529 on"),
            (|s| s.host = [0, 0, 0, 0].into(), u64::MAX, "no address that others can call"),
            (|s| s.mount = "..".into(), u64::MAX, "would hide"),
            (|s| s.mount = "/srv/weft/x/../drives/y".into(), u64::MAX, "would hide"),
        ];
        for (spoil, free, cause) in rows {
            let mut spec = spec();
            spoil(&mut spec);
            let line = plan(&spec, free).expect_err(cause).to_string();
            assert!(line.contains(cause) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_fits_is_formed_as_asked() {
        let asked = plan(&spec(), 600 * MIB).expect("fits");
        assert_eq!(asked.drive_size.get(), 100 * MIB);
        let last = FormSpec { port_base: 65528, ..spec() };
        assert!(plan(&last, 600 * MIB).is_ok());
        let chosen = plan(&FormSpec { drive_size: None, ..spec() }, 1201 * MIB).expect("fits");
        assert_eq!(chosen.drive_size.get(), 100 * MIB, "all drives take half of what is free");
    }
}
