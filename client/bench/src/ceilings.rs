//! What this machine could give at most, measured in the same run.

mod bounds;
mod cipher;
mod code;
mod device;
mod fuse;
mod quic;

use core::time::Duration;
use std::path::Path;

use serde::Serialize;

use crate::BenchError;
use crate::error::Cause;
use crate::parameters::Parameters;
use crate::stop::Stop;

pub(crate) use bounds::{Known, bounds};

/// One ceiling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// Of what.
    pub name: String,
    /// The figure.
    pub rate: f64,
    /// In what it is counted.
    pub unit: &'static str,
}

/// A ceiling in the unit of a workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bound {
    /// Of what.
    pub name: &'static str,
    /// The most that the workload could reach if nothing else cost anything.
    pub rate: f64,
    /// The workload's median by this.
    pub ratio: f64,
}

/// How many steps [`measure`] takes.
pub(crate) const STEPS: usize = 5;

/// How long each figure is measured.
const BOUND: Duration = Duration::from_secs(1);
/// The same where figures say nothing.
const SMALL_BOUND: Duration = Duration::from_millis(30);

/// How many operations are under way at once where that matters: what the workloads have.
const WIDTHS: [usize; 3] = [1, 4, 16];

/// Measures all of them. `folder` is where bytes come to lie, `protection` how a cluster codes them.
pub(crate) fn measure(
    parameters: &Parameters,
    folder: &Path,
    protection: Option<weft_layout::Protection>,
    stop: &Stop,
    now: &mut dyn FnMut(&str),
) -> Result<Known, BenchError> {
    let bound = if parameters.small { SMALL_BOUND } else { BOUND };
    let failed = |what| move |source: Cause| BenchError::Ceiling { what, source };
    now("ceiling: sealing");
    let (seal, open) = cipher::measure(bound).map_err(failed("sealing"))?;
    stop.check()?;
    now("ceiling: erasure code");
    let encode = protection.map(|code| code::measure(code, bound)).transpose();
    let encode = encode.map_err(failed("the erasure code"))?;
    stop.check()?;
    now("ceiling: QUIC");
    let quic = quic::measure(bound).map_err(failed("QUIC"))?;
    stop.check()?;
    now("ceiling: device");
    let device = device::measure(folder, parameters, bound, stop)?;
    now("ceiling: raw FUSE");
    let fuse = fuse::measure(parameters, stop)?;
    Ok(Known { cores: crate::machine::cores(), protection, seal, open, encode, quic, device, fuse })
}
