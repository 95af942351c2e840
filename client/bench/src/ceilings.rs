//! What this machine could give at most, measured in the same run.

use serde::Serialize;

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
    pub name: String,
    /// The most that the workload could reach if nothing else cost anything.
    pub rate: f64,
    /// The workload's median by this.
    pub ratio: f64,
}
