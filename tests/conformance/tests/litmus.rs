//! After a change on one mount returned, the other never answers the old state.

use weft_conformance::{Mounts, is_long, litmus};
use weft_e2e::{Cluster, seed_of_this_run};

#[test]
fn the_other_mount_never_answers_the_old_state() {
    let seed = seed_of_this_run();
    let cluster = Cluster::up();
    let folder = Mounts::of(&cluster).folder("litmus");
    let rounds = if is_long() { 100_000 } else { 2_000 };
    let report = litmus::run(&folder, rounds, seed).unwrap_or_else(|what| panic!("{what}"));
    print!("{report}");
}
