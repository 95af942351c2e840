//! A large real tree goes in and comes out the same: at once, after a restart, and while drives die.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weft_e2e::{Cluster, ClusterOptions, SourceTree, TreeSize, compare, copy_tree, run, wait_until};

const SIZE: TreeSize = TreeSize { files: 20_000, bytes: 1_000_000_000 };

fn drives() -> ClusterOptions {
    ClusterOptions { drive_size: "4GiB", ..ClusterOptions::default() }
}

#[track_caller]
fn assert_same(source: &Path, copy: &Path) {
    let outcome = compare(source, copy).success();
    assert!(outcome.stdout.is_empty(), "differences:\n{}", outcome.stdout);
}

#[test]
fn a_tree_survives_copy_restart_and_every_pair_of_dead_drives() {
    let cluster = Cluster::up_with(drives());
    let source = SourceTree::make(cluster.scratch(), SIZE);
    copy_tree(source.path(), &cluster.mount().join("tree")).success();
    assert_same(source.path(), &cluster.mount().join("tree"));
    cluster.down();
    cluster.start().success();
    assert_same(source.path(), &cluster.mount().join("tree"));
    for pair in pairs() {
        survive_pair(&cluster, source.path(), pair);
    }
}

/// All 15 pairs of six drives in the long tests; else three that have every drive die once.
fn pairs() -> Vec<[usize; 2]> {
    if std::env::var_os("WEFT_TEST_LONG").is_none() {
        return vec![[0, 1], [2, 3], [4, 5]];
    }
    (0..6).flat_map(|first| (first + 1..6).map(move |second| [first, second])).collect()
}

/// Two drives are killed between a quarter and three quarters of a cold comparison's way.
fn survive_pair(cluster: &Cluster, source: &Path, pair: [usize; 2]) {
    cluster.down();
    cluster.start().success();
    cluster.wait_healthy();
    cluster.forget_caches();
    let copy = cluster.mount().join("tree");
    let before = bytes_read(cluster);
    let mut comparison = start_comparison(source, &copy);
    wait_until("a quarter has been read", Duration::from_secs(120), || {
        let read = bytes_read(cluster) - before;
        (read > SIZE.bytes / 4).then_some(())
    });
    assert!(comparison.try_wait().expect("waits").is_none(), "the comparison is under way");
    for drive in pair {
        cluster.kill(&format!("drive{drive}"));
    }
    assert!(bytes_read(cluster) - before < SIZE.bytes * 3 / 4, "killed within the middle half");
    let output = comparison.wait_with_output().expect("rsync ends");
    let differences = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && differences.is_empty(), "drives {pair:?} dead: {differences}");
    let status = cluster.json(&["status"]);
    assert!(
        status["reconstructions"].as_u64().expect("a number") > 0,
        "drives {pair:?}: nothing was rebuilt"
    );
    println!("drives {pair:?} dead: same tree, {} reconstructions", status["reconstructions"]);
}

fn start_comparison(source: &Path, copy: &Path) -> Child {
    Command::new("rsync")
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes"])
        .args([format!("{}/", source.display()), format!("{}/", copy.display())])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("rsync starts")
}

/// Bytes that the mount has given to readers so far: what the kernel counts for the mount's process.
fn bytes_read(cluster: &Cluster) -> u64 {
    let pid = cluster.container("frontend0").pid.expect("the mount runs");
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("root may look");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("wchar is counted");
    line.parse().expect("a number")
}

#[test]
fn git_and_cargo_work_on_the_mount() {
    let cluster = Cluster::up();
    let script = r#"
        cd "$1"; export HOME="$1" GIT_CONFIG_NOSYSTEM=1
        git init -q -b main origin; cd origin
        git config user.email a@b; git config user.name n
        for n in $(seq 200); do mkdir -p d$((n % 7)); seq $n > d$((n % 7))/f$n; done
        git add .; git commit -qm one; cd ..
        git clone -q origin clone; cd clone
        git config user.email a@b; git config user.name n
        echo more >> d1/f1; git commit -qam two; git gc -q; git fsck --strict 2>&1
        git push -q origin main:other; git -C ../origin fsck --strict 2>&1
    "#;
    run(Command::new("bash").args(["-euc", script, "bash"]).arg(cluster.mount())).success();
    let script = r#"
        cd "$1"; export CARGO_NET_OFFLINE=true; unset CARGO_TARGET_DIR
        cargo init -q --name sample --vcs none sample; cd sample
        echo 'fn main() { println!("built on weft: {}", (1..=10).product::<u64>()); }' > src/main.rs
        cargo build -q; ./target/debug/sample
    "#;
    let outcome = run(Command::new("bash").args(["-euc", script, "bash"]).arg(cluster.mount())).success();
    assert!(outcome.stdout.contains("built on weft: 3628800"), "{}", outcome.stdout);
}
