//! The kernel's interface alone: the same workloads on a filesystem that only copies from and to memory.

mod agreement;
mod filesystem;
mod memory;

use std::collections::BTreeMap;
use std::path::PathBuf;

use fuser::{BackgroundSession, MountOption, Session};
use rustix::mount::UnmountFlags;
use weft_types::ByteCount;

use crate::bench::Course;
use crate::error::Cause;
use crate::ground::PlainGround;
use crate::parameters::Parameters;
use crate::pattern::mixed;
use crate::site::Site;
use crate::stop::Stop;
use crate::workload::Workload;
use crate::{BenchError, ground};
use filesystem::MemoryFs;

/// The large file at most: it lies in memory.
const BYTES_MAX: u64 = 256 << 20;
/// How long a random workload goes on at most.
const SECONDS_MAX: u64 = 1;

/// A filesystem in memory, mounted at a directory of its own; both are gone when it is dropped.
struct Mounted {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mounted {
    fn new(seed: u64, bytes: ByteCount) -> Result<Self, Cause> {
        let bytes = usize::try_from(bytes.get())?;
        let tag = mixed(seed ^ u64::from(std::process::id()));
        let at = std::env::temp_dir().join(format!(".weft-bench-fuse-{tag:016x}"));
        std::fs::create_dir(&at)?;
        let mut mounted = Self { at, session: None };
        let config = agreement::session(vec![
            MountOption::FSName("weft-bench".to_owned()),
            MountOption::Subtype("weft-bench".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ]);
        mounted.session = Some(Session::new(MemoryFs::new(bytes), &mounted.at, &config)?.spawn()?);
        agreement::raise_read_ahead(&mounted.at);
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join);
        if unmounted.is_err() {
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        }
        // Nobody can do anything about it.
        let _ = std::fs::remove_dir(&self.at);
    }
}

/// The rate of each workload.
pub(super) fn measure(parameters: &Parameters, stop: &Stop) -> Result<BTreeMap<Workload, f64>, BenchError> {
    let failed = |source| BenchError::Ceiling { what: "raw FUSE", source };
    let parameters = Parameters {
        size: ByteCount::new(parameters.size.get().min(BYTES_MAX)),
        bound: parameters.bound.min(core::time::Duration::from_secs(SECONDS_MAX)),
        runs: 1,
        ..parameters.clone()
    };
    let mounted = Mounted::new(parameters.seed, parameters.size).map_err(failed)?;
    let mut plain: Box<dyn ground::Ground> = Box::new(PlainGround);
    let mut site = Site::new(&mounted.at, parameters, false, stop.clone())?;
    let rows = Course::new(plain.as_mut()).measure_all(&mut site, &mut |_| {})?;
    site.remove()?;
    Ok(rows.into_iter().map(|row| (row.workload, row.rate.median)).collect())
}

#[cfg(test)]
mod tests;
