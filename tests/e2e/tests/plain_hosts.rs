//! Hosts that refuse the faster ways to a device: Weft serves all the same, and loses nothing.

use std::fs::{self, File};
use std::path::PathBuf;

use weft_e2e::{Cluster, ClusterOptions, program, run};

fn small() -> ClusterOptions {
    ClusterOptions { drive_size: "128MiB", ..ClusterOptions::default() }
}

#[track_caller]
fn write_and_read(cluster: &Cluster, name: &str) {
    let content: Vec<u8> = (0..3_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = cluster.mount().join(name);
    fs::write(&path, &content).expect("write");
    File::open(&path).expect("open").sync_all().expect("fsync");
    assert!(fs::read(&path).expect("read") == content);
}

/// Which way the bytes of a drive travel, and what it says of that.
fn way_to(cluster: &Cluster, container: &str) -> (String, String) {
    let drives = cluster.json(&["drive", "list"]);
    let row = drives.as_array().expect("an array").iter().find(|row| row["container"] == container);
    let text = |field: &str| row.and_then(|row| row[field].as_str()).unwrap_or_default().to_owned();
    (text("io"), text("warning"))
}

/// The host's setting, given back when the test ends, however it ends.
struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    fn change(path: &str, value: &str) -> Self {
        let path = PathBuf::from(path);
        let before = fs::read_to_string(&path).expect("the kernel has the setting");
        fs::write(&path, value).expect("root may change it");
        Self { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}

#[test]
fn a_host_that_refuses_io_uring_serves_all_the_same() {
    let _refused = Setting::change("/proc/sys/kernel/io_uring_disabled", "2");
    let cluster = Cluster::up_with(small());
    cluster.wait_healthy();
    write_and_read(&cluster, "f");
    let (way, warning) = way_to(&cluster, "drive3");
    assert_eq!(way, "buffered");
    assert!(warning.contains("io_uring"), "the reason is named: {warning}");
}

/// ramfs has no O_DIRECT and cannot punch holes.
#[test]
fn a_device_on_a_filesystem_without_direct_io_serves_all_the_same() {
    let cluster = Cluster::up_with(small());
    write_and_read(&cluster, "before");
    assert_eq!(way_to(&cluster, "drive0"), ("direct".to_owned(), String::new()), "the usual way");
    cluster.down();
    let folder = cluster.dir().join("drives/drive0").to_string_lossy().into_owned();
    let script = r#"
        cp --sparse=always "$1/device" "$1.kept"
        mount -t ramfs ramfs "$1"
        mv "$1.kept" "$1/device"
        ! dd if="$1/device" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
    "#;
    run(&mut program("bash", &["-euc", script, "bash", &folder])).success();
    let _unmount = Unmount(folder);
    cluster.start().success();
    cluster.wait_healthy();
    write_and_read(&cluster, "after");
    let (way, warning) = way_to(&cluster, "drive0");
    assert_eq!((way.as_str(), way_to(&cluster, "drive1").0.as_str()), ("buffered", "direct"));
    assert!(warning.contains("direct IO"), "the reason is named: {warning}");
    fs::remove_file(cluster.mount().join("before")).expect("unlink");
    write_and_read(&cluster, "again");
    run(&mut cluster.weft(&["down"])).success();
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = run(&mut program("umount", &["-l", &self.0]));
    }
}
