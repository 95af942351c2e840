//! Every process dies at once, again and again, and devices with it: what was promised is there.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use weft_e2e::{Cluster, Random, Workload, seed_of_this_run, wait_until};

/// Kills in CI, and in the long tests.
fn instants() -> u32 {
    if std::env::var_os("WEFT_TEST_LONG").is_none() { 10 } else { 100 }
}

/// Lets workloads run until the cluster was killed under them, after so many operations in all.
fn run_until_killed(cluster: &Cluster, workloads: &mut [Workload], operations: u64) {
    let (done, dead) = (AtomicU64::new(0), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for workload in workloads.iter_mut() {
            let (done, dead, failures) = (&done, &dead, &failures);
            scope.spawn(move || {
                loop {
                    match workload.step() {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(_) if dead.load(Ordering::SeqCst) => return,
                        Err(error) => {
                            failures.lock().expect("nobody panics").push(error.to_string());
                            return;
                        }
                    };
                }
            });
        }
        wait_until("the workloads are at it", Duration::from_secs(120), || {
            let failed = !failures.lock().expect("nobody panics").is_empty();
            (failed || done.load(Ordering::Relaxed) >= operations).then_some(())
        });
        dead.store(true, Ordering::SeqCst);
        cluster.kill_all();
    });
    let failures = failures.into_inner().expect("nobody panics");
    assert!(failures.is_empty(), "operations failed while all was well: {failures:?}");
}

#[test]
fn what_was_fsynced_and_every_name_survive_the_death_of_every_process() {
    let seed = seed_of_this_run();
    let mut random = Random::new(seed);
    let cluster = Cluster::up();
    let begin = |number: u64| Workload::begin(cluster.mount().join(format!("w{number}")), seed ^ number);
    let mut workloads: Vec<_> = (0..3).map(|number| begin(number).expect("begins")).collect();
    for instant in 0..instants() {
        run_until_killed(&cluster, &mut workloads, 1 + random.below(60));
        cluster.start().success();
        for (number, workload) in workloads.iter_mut().enumerate() {
            workload.verify().unwrap_or_else(|what| panic!("instant {instant}, workload {number}: {what}"));
        }
    }
    let fsyncs: u64 = workloads.iter().map(|workload| workload.done().1).sum();
    println!("{} kills of every process survived, {fsyncs} fsyncs kept", instants());
    assert!(fsyncs > u64::from(instants()), "the workload must promise something");
}

#[test]
fn containers_that_die_one_by_one_are_not_noticed_by_what_was_promised() {
    let seed = seed_of_this_run();
    let mut random = Random::new(seed);
    let cluster = Cluster::up();
    let mut workload = Workload::begin(cluster.mount().join("w"), seed).expect("begins");
    let backends = ["compute0", "drive0", "drive1", "drive2", "drive3", "drive4", "drive5"];
    for _ in 0..instants() / 2 {
        for _ in 0..1 + random.below(20) {
            workload.step().expect("the cluster is whole, or heals under it");
        }
        let name = backends[usize::try_from(random.below(backends.len() as u64)).expect("small")];
        println!("{name} dies");
        cluster.kill(name);
        cluster.start().success();
        workload.step().expect("goes on");
        workload.verify().unwrap_or_else(|what| panic!("after {name} died: {what}"));
    }
}

/// Closing sends nothing: what compute does not have yet must not be lost with it.
#[test]
fn files_that_were_closed_outlive_a_compute_that_dies_before_it_has_them() {
    let cluster = Cluster::up();
    let seed = seed_of_this_run();
    let content = |number: u64| Random::new(seed ^ number).bytes(1 + 97 * number as usize);
    let folder = cluster.mount().join("closed");
    fs::create_dir(&folder).expect("made");
    for number in 0..300 {
        fs::write(folder.join(format!("{number}")), content(number)).expect("written and closed");
    }
    cluster.kill("compute0");
    cluster.start().success();
    let check = |when: &str| {
        for number in 0..300 {
            let found = fs::read(folder.join(format!("{number}"))).expect("read");
            assert!(found == content(number), "file {number} {when}: {} bytes", found.len());
        }
    };
    check("after the kill");
    for number in 0..300 {
        fs::File::open(folder.join(format!("{number}"))).expect("open").sync_all().expect("fsync");
    }
    cluster.kill_all();
    cluster.start().success();
    check("after everything died");
}

#[test]
fn two_devices_and_the_whole_index_may_go() {
    let cluster = Cluster::up();
    let seed = seed_of_this_run();
    let mut workload = Workload::begin(cluster.mount().join("w"), seed).expect("begins");
    for _ in 0..400 {
        workload.step().expect("done");
    }
    let content = Random::new(seed).bytes(20 << 20);
    fs::write(cluster.mount().join("large"), &content).expect("written");
    cluster.kill_all();
    let mut random = Random::new(seed);
    let first = random.below(6);
    let second = (first + 1 + random.below(5)) % 6;
    for drive in [first, second] {
        fs::remove_file(cluster.device(&format!("drive{drive}"))).expect("the device goes");
    }
    cluster.forget_indexes();
    let up = cluster.start().success();
    for drive in [first, second] {
        assert!(up.stdout.contains(&format!("drive{drive}")), "up names what is missing: {}", up.stdout);
    }
    workload.verify().expect("what was promised is there");
    // Not fsynced, but older than the five seconds after which dirty bytes are committed, or not there at all.
    let found = fs::read(cluster.mount().join("large")).expect("read");
    assert!(content.starts_with(&found), "never other bytes than those that were written");
    for _ in 0..50 {
        workload.step().expect("four of six drives serve writes too");
    }
    workload.verify().expect("and keep them");
}

#[test]
fn recover_rebuilds_a_cluster_from_four_devices_and_the_kms_key() {
    let cluster = Cluster::up();
    let seed = seed_of_this_run();
    let mut workload = Workload::begin(cluster.mount().join("w"), seed).expect("begins");
    for _ in 0..300 {
        workload.step().expect("done");
    }
    cluster.kill_all();
    let kept = cluster.scratch().join("kept");
    fs::create_dir(&kept).expect("a folder");
    let mut devices = Vec::new();
    for drive in ["drive0", "drive2", "drive3", "drive5"] {
        let device = kept.join(drive);
        fs::rename(cluster.device(drive), &device).expect("moved");
        devices.push(device);
    }
    let key = kept.join("kms.key");
    fs::copy(cluster.dir().join("kms/local.key"), &key).expect("copied");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
    cluster.unmount_lazily();
    fs::remove_dir_all(cluster.dir()).expect("everything else is gone");
    let mut recover = cluster.weft(&["cluster", "recover", "--kms-key"]);
    recover.arg(&key).arg("--devices").args(&devices);
    weft_e2e::run(&mut recover).success();
    cluster.start().success();
    workload.verify().expect("what was promised is there");
}
