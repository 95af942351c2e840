//! `weft bench`, small: that it measures everything, and leaves nothing. Its figures say nothing here.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use weft_e2e::{Cluster, run, wait_until};

const WORKLOADS: [&str; 22] = [
    "seq-write",
    "seq-read",
    "rand-read-d1",
    "rand-read-d16",
    "create-t1",
    "create-t4",
    "stat-t1",
    "stat-t4",
    "open-read-t1",
    "open-read-t4",
    "readdir-t1",
    "readdir-t4",
    "rename-t1",
    "rename-t4",
    "unlink-t1",
    "unlink-t4",
    "lock-d1",
    "lock-d16",
    "rand-write-d1",
    "rand-write-d16",
    "sync-write-d1",
    "sync-write-d16",
];

fn entries(cluster: &Cluster) -> Vec<std::ffi::OsString> {
    let listed = fs::read_dir(cluster.mount()).expect("listed");
    listed.map(|entry| entry.expect("an entry").file_name()).collect()
}

#[track_caller]
fn assert_positive(value: &Value) {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number > 0.0, "{number}");
}

#[test]
fn a_small_bench_measures_all_and_leaves_nothing() {
    let cluster = Cluster::up();
    let before = cluster.container("drive0").pid;
    let mount = cluster.mount().to_string_lossy().into_owned();
    let report = cluster.json(&["bench", &mount, "--small", "--seed", "5"]);
    let rows = report["workloads"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|row| row["workload"].as_str().expect("a name")).collect();
    assert_eq!(names, WORKLOADS);
    for row in rows {
        assert_positive(&row["median"]);
        assert!(row["cluster_cpu_seconds"].is_number(), "{row}");
        let bounds = row["bounds"].as_array().expect("bounds");
        bounds.iter().for_each(|bound| assert_positive(&bound["ratio"]));
        assert!(bounds.iter().any(|bound| bound["name"] == "raw FUSE"), "{row}");
    }
    let cold = rows.iter().find(|row| row["workload"] == "seq-read").expect("a row");
    assert_eq!(cold["warmth"]["restarted"], true, "{cold}");
    assert_ne!(cluster.container("drive0").pid, before, "the drives were restarted");
    let ceilings = report["ceilings"].as_array().expect("ceilings");
    for word in ["AES", "erasure code 4+2", "QUIC", "device", "raw FUSE"] {
        let about = |ceiling: &&Value| ceiling["name"].as_str().is_some_and(|name| name.contains(word));
        let found: Vec<_> = ceilings.iter().filter(about).collect();
        assert!(!found.is_empty(), "no ceiling of {word}: {ceilings:?}");
        found.iter().for_each(|ceiling| assert_positive(&ceiling["rate"]));
    }
    let memory = report["memory"].as_array().expect("memory");
    assert_eq!(memory.len(), 8, "six drives, compute and the mount: {memory:?}");
    memory.iter().for_each(|row| assert_positive(&row["peak_bytes"]));
    assert_positive(&report["cluster_cpu_seconds"]);
    assert_eq!(report["cluster"]["protection"], "4+2");
    assert_positive(&report["machine"]["path_mtu"]);
    assert!(entries(&cluster).is_empty(), "{:?}", entries(&cluster));
}

#[test]
fn a_bench_that_cannot_be_says_why_and_one_that_is_ended_leaves_nothing() {
    let cluster = Cluster::up();
    let mount = cluster.mount().to_string_lossy().into_owned();
    let missing = cluster.scratch().join("missing").to_string_lossy().into_owned();
    run(&mut cluster.weft(&["bench", &missing])).refused(1, &[&missing, "name a directory"]);
    run(&mut cluster.weft(&["bench", &mount, "--size", "1PiB"])).refused(1, &["2 x 1.00 PiB", "--size"]);
    run(&mut cluster.weft(&["bench", &mount, "--only", "seq-read,fast"]))
        .refused(2, &["fast", "rand-write-d16"]);
    run(&mut cluster.weft(&["bench"])).refused(2, &["PATH"]);
    assert!(entries(&cluster).is_empty());

    let endless =
        ["bench", &mount, "--no-ceilings", "--only", "create-t1", "--files", "200000", "--runs", "1"];
    let mut bench = cluster.weft(&endless);
    let mut child = bench.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_until("it has begun", Duration::from_secs(30), || (!entries(&cluster).is_empty()).then_some(()));
    let pid = child.id().to_string();
    run(Command::new("kill").args(["-INT", &pid])).success();
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert!(entries(&cluster).is_empty(), "{:?}", entries(&cluster));
}
