//! A newcomer's first minutes: up, look, write, down, up again, destroy.

use std::fs;
use std::os::unix::fs::MetadataExt;

use weft_e2e::{Cluster, run};

#[test]
fn up_mounts_a_healthy_cluster_and_again_resumes_it() {
    let cluster = Cluster::prepared(Default::default());
    let first = cluster.start().success();
    assert!(first.stdout.contains("mnt"), "up says where it is mounted: {}", first.stdout);
    cluster.wait_healthy();
    fs::create_dir(cluster.mount().join("d")).expect("mkdir");
    fs::write(cluster.mount().join("d/hello"), "first light").expect("write");

    let pids =
        |cluster: &Cluster| cluster.containers().into_iter().map(|c| (c.name, c.pid)).collect::<Vec<_>>();
    let before = pids(&cluster);
    cluster.start().success();
    assert_eq!(pids(&cluster), before, "up on a running cluster starts nothing");
    assert_eq!(fs::read(cluster.mount().join("d/hello")).expect("read"), b"first light");

    cluster.down();
    cluster.start().success();
    assert_eq!(fs::read(cluster.mount().join("d/hello")).expect("read"), b"first light");
}

#[test]
fn down_leaves_no_process_and_no_mount_and_destroy_no_file() {
    let cluster = Cluster::up();
    fs::write(cluster.mount().join("f"), "x").expect("write");
    let pids: Vec<_> = cluster.containers().into_iter().filter_map(|c| c.pid).collect();
    assert!(pids.len() >= 7, "six drives and a compute container at least: {pids:?}");
    cluster.down();
    for pid in pids {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&command).contains("weft"), "process {pid} is still there");
    }
    assert!(cluster.dir().exists());
    run(&mut cluster.weft(&["down", "--destroy"])).success();
    assert!(!cluster.dir().exists(), "destroy leaves no file");
}

#[test]
fn a_killed_container_stays_down_until_up() {
    let cluster = Cluster::up();
    cluster.wait_healthy();
    cluster.kill("drive3");
    weft_e2e::wait_until("the drive is seen down", std::time::Duration::from_secs(7), || {
        let status = cluster.json(&["status"]);
        (status["healthy"] == false).then_some(())
    });
    assert_eq!(cluster.container("drive3").pid, None);
    let drives = cluster.json(&["drive", "list"]);
    let row =
        drives.as_array().expect("an array").iter().find(|d| d["container"] == "drive3").expect("drive3");
    assert_eq!(row["state"], "down", "{row}");
    cluster.start().success();
    cluster.wait_healthy();
    assert!(cluster.container("drive3").pid.is_some());
}

#[test]
fn a_killed_mount_is_taken_over() {
    let cluster = Cluster::up();
    fs::write(cluster.mount().join("f"), "kept").expect("write");
    let file = fs::File::open(cluster.mount().join("f")).expect("open");
    file.sync_all().expect("fsync");
    drop(file);
    cluster.kill("frontend0");
    assert!(fs::read(cluster.mount().join("f")).is_err(), "the mount is dead");
    cluster.start().success();
    assert_eq!(fs::read(cluster.mount().join("f")).expect("read"), b"kept");
}

#[test]
fn lists_have_the_fields_that_scripts_rely_on() {
    let cluster = Cluster::up();
    for container in cluster.json(&["container", "list"]).as_array().expect("an array") {
        for field in ["name", "roles", "pid", "state", "address"] {
            assert!(container.get(field).is_some(), "{field} is missing in {container}");
        }
    }
    let drives = cluster.json(&["drive", "list"]);
    let drives = drives.as_array().expect("an array");
    assert_eq!(drives.len(), 6);
    for drive in drives {
        for field in ["id", "container", "failure_domain", "state", "capacity_bytes", "used_bytes", "path"] {
            assert!(drive.get(field).is_some(), "{field} is missing in {drive}");
        }
        assert!(fs::metadata(drive["path"].as_str().expect("a path")).is_ok(), "{drive}");
    }
    let filesystems = cluster.json(&["fs", "list"]);
    assert_eq!(filesystems[0]["name"], "default");
    assert_eq!(cluster.json(&["cluster", "map"])["protection"], "4+2");
}

#[test]
fn a_second_filesystem_is_made_mounted_and_deleted() {
    let cluster = Cluster::up();
    let mount = cluster.scratch().join("second");
    fs::create_dir(&mount).expect("mkdir");
    let at = mount.to_string_lossy().into_owned();
    run(&mut cluster.weft(&["fs", "create", "second"])).success();
    run(&mut cluster.weft(&["mount", "second", &at])).success();
    fs::write(mount.join("f"), vec![7; 3 << 20]).expect("write");
    assert!(!cluster.mount().join("f").exists(), "filesystems are apart");
    run(&mut cluster.weft(&["fs", "delete", "second", "--yes"])).refused(1, &["mounted"]);
    run(&mut cluster.weft(&["umount", &at])).success();
    run(&mut cluster.weft(&["fs", "delete", "second", "--yes"])).success();
    let mount_again = run(&mut cluster.weft(&["mount", "second", &at]));
    assert_eq!(mount_again.code, 1, "a deleted filesystem is not mounted: {}", mount_again.stdout);
    weft_e2e::wait_until(
        "the filesystem and its extents are gone",
        std::time::Duration::from_secs(60),
        || (cluster.json(&["fs", "list"]).as_array().expect("an array").len() == 1).then_some(()),
    );
}

#[test]
fn a_second_mount_sees_what_the_first_one_does() {
    let cluster = Cluster::up();
    let again = cluster.scratch().join("again");
    fs::create_dir(&again).expect("mkdir");
    run(&mut cluster.weft(&["mount", "default", &again.to_string_lossy()])).success();
    for (number, (writes, reads)) in
        [(cluster.mount(), again.clone()), (again, cluster.mount())].iter().enumerate()
    {
        let name = format!("file {number}");
        assert!(!reads.join(&name).exists());
        fs::write(writes.join(&name), b"seen").expect("write");
        assert_eq!(fs::read(reads.join(&name)).expect("read"), b"seen");
    }
}

#[test]
fn df_is_net_of_parity_and_spare_and_follows_the_data() {
    let cluster = Cluster::up();
    cluster.wait_healthy();
    let space = || {
        let vfs = rustix::fs::statvfs(cluster.mount()).expect("statvfs");
        (vfs.f_blocks * vfs.f_frsize, vfs.f_bavail * vfs.f_frsize)
    };
    let (total, free) = space();
    let raw = 6 * (2_u64 << 30);
    assert!(total < raw * 4 / 6 && total > raw / 3, "{total} of {raw} raw");
    let file = cluster.mount().join("big");
    fs::write(&file, vec![1; 64 << 20]).expect("write");
    fs::File::open(&file).expect("open").sync_all().expect("fsync");
    weft_e2e::wait_until("df shows the file", std::time::Duration::from_secs(10), || {
        let used = free.saturating_sub(space().1);
        (used > 60 << 20 && used < 80 << 20).then_some(())
    });
    assert_eq!(fs::metadata(&file).expect("stat").blocks() * 512, 64 << 20);
    fs::remove_file(&file).expect("unlink");
    weft_e2e::wait_until("df shows it gone", std::time::Duration::from_secs(20), || {
        (free.saturating_sub(space().1) < 1 << 20).then_some(())
    });
}

#[test]
fn down_with_open_files_names_the_processes_and_stops() {
    let cluster = Cluster::up();
    let file = fs::File::create(cluster.mount().join("held")).expect("create");
    let me = std::process::id().to_string();
    run(&mut cluster.weft(&["down"])).refused(1, &[&me, "--force"]);
    assert!(cluster.container("drive0").pid.is_some(), "nothing was stopped");
    run(&mut cluster.weft(&["down", "--force"])).success();
    drop(file);
}
