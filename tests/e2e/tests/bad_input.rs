//! Wrong input, wrong hosts, wrong folders: one clear line naming cause and next step, and nothing lost.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use weft_e2e::{Cluster, ClusterOptions, Outcome, program, run, weft_binary};

fn weft(arguments: &[&str], dir: &Path) -> Outcome {
    run(Command::new(weft_binary()).args(arguments).env("WEFT_DIR", dir).env_remove("RUST_LOG"))
}

/// A refusal is one line, or a short paragraph of clap's: never a trace.
#[track_caller]
fn one_clear_line(outcome: &Outcome) {
    let lines = outcome.stderr.lines().filter(|line| !line.is_empty()).count();
    assert!(lines == 1, "{} says {lines} lines: {}", outcome.line, outcome.stderr);
}

#[test]
fn impossible_protections_are_refused_before_anything_is_made() {
    let scratch = tempfile::tempdir().expect("a folder");
    let dir = scratch.path().join("weft-data");
    let rows: [(&[&str], i32, &[&str]); 8] = [
        (&["up", "--protection", "4"], 2, &["protection"]),
        (&["up", "--protection", "4+3"], 2, &["protection"]),
        (&["up", "--protection", "99+2"], 2, &["protection"]),
        (&["up", "--protection", "x+y"], 2, &["protection"]),
        (&["up", "--drives", "0"], 2, &["drives"]),
        (&["up", "--drives", "5", "--protection", "4+2"], 1, &["5", "6"]),
        (&["up", "--drive-size", "lots"], 2, &["drive-size"]),
        (&["up", "--drive-size", "1KiB"], 1, &["drive"]),
    ];
    for (arguments, code, words) in rows {
        weft(arguments, &dir).refused(code, words);
        assert!(!dir.exists(), "{arguments:?} left something behind");
    }
}

#[test]
fn wrong_usage_exits_two() {
    let scratch = tempfile::tempdir().expect("a folder");
    for arguments in [&["frobnicate"][..], &["up", "--no-such-option"], &["fs", "create"], &["mount"]] {
        weft(arguments, scratch.path()).refused(2, &[]);
    }
}

#[test]
fn commands_without_a_cluster_say_so() {
    let scratch = tempfile::tempdir().expect("a folder");
    let dir = scratch.path().join("weft-data");
    let commands: [&[&str]; 7] = [
        &["status"],
        &["fs", "list"],
        &["drive", "list"],
        &["container", "list"],
        &["cluster", "map"],
        &["logs"],
        &["mount", "default", "/mnt"],
    ];
    for arguments in commands {
        let outcome = weft(arguments, &dir).refused(1, &["weft up"]);
        one_clear_line(&outcome);
    }
    weft(&["down"], &dir).success();
}

#[test]
fn mount_points_that_cannot_be_are_refused() {
    let cluster = Cluster::up();
    let missing = cluster.scratch().join("missing");
    let file = cluster.scratch().join("file");
    fs::write(&file, "").expect("write");
    run(&mut cluster.weft(&["fs", "create", "other"])).success();
    let mount = |at: &Path| run(&mut cluster.weft(&["mount", "other", &at.to_string_lossy()]));
    one_clear_line(&mount(&missing).refused(1, &["does not exist"]));
    one_clear_line(&mount(&file).refused(1, &["not a directory"]));
    one_clear_line(&mount(&cluster.mount()).refused(1, &["mounted"]));
    one_clear_line(
        &run(&mut cluster.weft(&["mount", "nothing", "/mnt"])).refused(1, &["nothing", "weft fs list"]),
    );
    one_clear_line(
        &run(&mut cluster.weft(&["umount", &file.to_string_lossy()])).refused(1, &["not mounted"]),
    );
}

#[test]
fn options_that_differ_from_the_clusters_are_refused() {
    let cluster = Cluster::up();
    run(&mut cluster.weft(&["up", "--drives", "7"])).refused(1, &["6", "7"]);
    run(&mut cluster.weft(&["up", "--protection", "8+2"])).refused(1, &["4+2", "8+2"]);
    run(&mut cluster.weft(&["up"])).success();
    cluster.wait_healthy();
}

#[test]
fn a_taken_port_is_named() {
    let cluster = Cluster::prepared(ClusterOptions::default());
    let taken = UdpSocket::bind(("127.0.0.1", cluster.port_base())).expect("bind");
    let port = cluster.port_base().to_string();
    one_clear_line(&cluster.start().refused(1, &[&port, "--port-base"]));
    drop(taken);
    cluster.start().success();
    cluster.wait_healthy();
    cluster.down();
    let taken = UdpSocket::bind(("127.0.0.1", cluster.port_base())).expect("bind");
    one_clear_line(&cluster.start().refused(1, &[&port]));
    drop(taken);
    cluster.start().success();
}

#[test]
fn a_drive_of_another_cluster_or_a_newer_format_is_refused() {
    let one = Cluster::up();
    let two = Cluster::up();
    one.down();
    two.down();
    let device = |cluster: &Cluster| cluster.dir().join("drives/drive0/device");
    let own = one.scratch().join("own-device");
    fs::rename(device(&one), &own).expect("moved away");
    run(&mut program(
        "cp",
        &["--sparse=always", &device(&two).to_string_lossy(), &device(&one).to_string_lossy()],
    ))
    .success();
    // The other drives serve: the foreign one is named, and left alone.
    let up = one.start().success();
    assert!(up.stdout.contains("belongs to cluster") && up.stdout.contains("drive0"), "{}", up.stdout);
    one.down();
    fs::rename(&own, device(&one)).expect("moved back");
    let state = one.dir().join("cluster.json");
    let text = fs::read_to_string(&state).expect("read");
    let mut newer: serde_json::Value = serde_json::from_str(&text).expect("json");
    newer["format"] = 99.into();
    fs::write(&state, newer.to_string()).expect("write");
    one_clear_line(&one.start().refused(1, &["99", "newer"]));
    fs::write(&state, text).expect("write");
    one.start().success();
}

#[test]
fn a_truncated_state_file_is_named_and_nothing_is_lost() {
    let cluster = Cluster::up();
    fs::write(cluster.mount().join("f"), "kept").expect("write");
    cluster.down();
    for name in ["cluster.json", "containers/drive0.json", "kms/local.key"] {
        let path = cluster.dir().join(name);
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..whole.len() / 2]).expect("truncate");
        let file = Path::new(name).file_name().expect("a name").to_string_lossy().into_owned();
        one_clear_line(&cluster.start().refused(1, &[&file]));
        let _ = run(&mut cluster.weft(&["down"]));
        fs::write(&path, whole).expect("restore");
    }
    cluster.start().success();
    assert_eq!(fs::read(cluster.mount().join("f")).expect("read"), b"kept");
}

/// In a mount namespace of its own the device node can be hidden without touching the host's.
#[test]
fn a_host_without_dev_fuse_is_told_so() {
    let cluster = Cluster::prepared(ClusterOptions::default());
    let up = cluster.up_command();
    let arguments: Vec<_> = up.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let script = r#"touch "$1/nothing"; mount --bind "$1/nothing" /dev/fuse; shift; exec "$@""#;
    let mut command =
        program("unshare", &["--mount", "--propagation", "private", "bash", "-euc", script, "bash"]);
    command.arg(cluster.scratch()).arg(weft_binary()).args(arguments).env("WEFT_DIR", cluster.dir());
    one_clear_line(&run(&mut command).refused(1, &["/dev/fuse"]));
    cluster.start().success();
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let scratch = tempfile::tempdir().expect("a folder");
    let disk = scratch.path().to_string_lossy().into_owned();
    run(&mut program("mount", &["-t", "tmpfs", "-o", "size=900m", "tmpfs", &disk])).success();
    let _unmount = Unmount(disk.clone());
    let dir = scratch.path().join("weft-data");
    let base = (20_000 + std::process::id() % 250 * 40 + 32).to_string();
    weft(&["up", "--port-base", &base, "--drive-size", "64GiB"], &dir).refused(1, &["64"]);
    weft(&["up", "--port-base", &base, "--drive-size", "128MiB"], &dir).success();
    let _down = Down(dir.clone());
    let mount = dir.join("mnt");
    fs::write(mount.join("kept"), vec![9; 1 << 20]).expect("write");
    fs::File::open(mount.join("kept")).expect("open").sync_all().expect("fsync");
    // Something else fills the host's disk, to the last byte.
    run(&mut program("dd", &["if=/dev/zero", &format!("of={disk}/filler"), "bs=1M", "status=none"]));
    let fill = || -> std::io::Result<()> {
        let mut file = fs::File::create(mount.join("more"))?;
        for _ in 0..400 {
            std::io::Write::write_all(&mut file, &vec![5; 1 << 20])?;
        }
        file.sync_all()
    };
    assert_eq!(fill().expect_err("the disk is full").raw_os_error(), Some(28), "ENOSPC");
    assert_eq!(fs::read(mount.join("kept")).expect("read"), vec![9; 1 << 20]);
    fs::remove_file(format!("{disk}/filler")).expect("room again");
    weft_e2e::wait_until("writes go on when there is room", std::time::Duration::from_secs(30), || {
        fs::write(mount.join("after"), "x").ok()?;
        fs::File::open(mount.join("after")).ok()?.sync_all().ok()
    });
    weft(&["down", "--force"], &dir).success();
    weft(&["up"], &dir).success();
    assert_eq!(fs::read(mount.join("kept")).expect("read"), vec![9; 1 << 20]);
    assert_eq!(fs::read(mount.join("after")).expect("read"), b"x");
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = run(&mut program("umount", &["-l", &self.0]));
    }
}

struct Down(std::path::PathBuf);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = weft(&["down", "--force", "--destroy"], &self.0);
    }
}
