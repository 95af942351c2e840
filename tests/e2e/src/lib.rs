//! What the end-to-end tests stand on: a cluster of real processes with a real mount, tidied away afterwards.

mod cluster;
mod command;
mod condition;
mod random;
mod tree;
mod workload;

pub use cluster::{Cluster, ClusterOptions, Container};
pub use command::{Outcome, program, run, weft_binary, weftd_binary};
pub use condition::wait_until;
pub use random::{Random, seed_of_this_run};
pub use tree::{SourceTree, TreeSize, compare, copy_tree};
pub use workload::Workload;
