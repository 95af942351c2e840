use super::*;

/// Where this host cannot mount there is nothing to be tested.
fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && std::fs::File::open("/dev/fuse").is_ok()
}

#[test]
fn every_workload_runs_on_it_and_its_mount_goes() {
    if !can_mount() {
        return;
    }
    let rates = measure(&Parameters::small(3), &Stop::default()).expect("measured");
    assert_eq!(rates.len(), Workload::ALL.len());
    assert!(rates.values().all(|rate| *rate > 0.0), "{rates:?}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("readable");
    assert!(!mounts.contains(&format!("{:016x}", mixed(3 ^ u64::from(std::process::id())))), "{mounts}");
}
