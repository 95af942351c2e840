//! Measures a filesystem by plain POSIX calls, and beside it what this machine could give at most.
//!
//! [`run`] takes a [`Subject`], which is any directory and what lies under it, and a [`Plan`], and gives a [`Report`].
//! What is read is held against what was written: a filesystem that gives wrong bytes fails its bench.

mod aligned;
mod bench;
mod ceilings;
mod crew;
mod error;
mod ground;
mod machine;
mod parameters;
mod pattern;
mod permutation;
mod processes;
mod report;
mod site;
mod statistics;
mod stop;
pub mod table;
mod workload;
mod workloads;

pub use bench::{Plan, Subject, Watcher, run};
pub use ceilings::{Bound, Ceiling};
pub use error::{BenchError, Cause};
pub use ground::{Ground, Pages, PlainGround, RestartError, Warmth, process_use};
pub use machine::Machine;
pub use parameters::{Need, Parameters, REQUEST};
pub use processes::{PeakMemory, ProcessUse};
pub use report::{ClusterFacts, Report, Row, Run};
pub use statistics::{Latency, Spread};
pub use stop::Stop;
pub use workload::{Depth, Threads, Unit, UnknownWorkload, Workload};
