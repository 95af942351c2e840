//! Nothing that an application wrote is in clear on a device or on the wire.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weft_e2e::{Cluster, ClusterOptions, program, run, wait_until};

/// Whether any file below a folder, or the file itself, contains the bytes.
fn found(below: &Path, marker: &str, left_out: &Path) -> Vec<String> {
    let mut hits = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(path) = open.pop() {
        if path == left_out {
            continue;
        }
        if path.to_string_lossy().contains(marker) {
            hits.push(path.to_string_lossy().into_owned());
        }
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.is_file() && contains(&path, marker.as_bytes()) {
            hits.push(path.to_string_lossy().into_owned());
        }
    }
    hits
}

/// `grep` skips holes quickly and does not care for line ends with `-a -z`.
fn contains(file: &Path, marker: &[u8]) -> bool {
    let marker = String::from_utf8_lossy(marker).into_owned();
    run(Command::new("grep").args(["-aqF", &marker]).arg(file)).code == 0
}

struct Capture {
    tcpdump: Child,
    file: std::path::PathBuf,
    log: std::path::PathBuf,
}

impl Capture {
    fn start(folder: &Path, ports: std::ops::Range<u16>) -> Self {
        let (file, log) = (folder.join("loopback.pcap"), folder.join("tcpdump.log"));
        let stderr = fs::File::create(&log).expect("created");
        let filter = format!("udp and portrange {}-{}", ports.start, ports.end);
        let tcpdump = Command::new("tcpdump")
            .args(["-i", "lo", "-n", "-U", "-s", "0", "-B", "262144", "-Z", "root", "-w"])
            .arg(&file)
            .arg(filter)
            .stderr(stderr)
            .stdout(Stdio::null())
            .spawn()
            .expect("tcpdump starts");
        let capture = Self { tcpdump, file, log };
        wait_until("tcpdump listens", Duration::from_secs(20), || capture.said("listening on").then_some(()));
        capture
    }

    fn said(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }

    /// Ends the capture; panics when a packet was dropped.
    fn stop(mut self) -> std::path::PathBuf {
        let pid = self.tcpdump.id().to_string();
        run(&mut program("kill", &["-INT", &pid])).success();
        self.tcpdump.wait().expect("tcpdump ends");
        assert!(
            self.said("0 packets dropped by kernel"),
            "{}",
            fs::read_to_string(&self.log).unwrap_or_default()
        );
        self.file.clone()
    }
}

#[test]
fn a_marker_is_in_no_file_and_in_no_packet() {
    let marker =
        format!("MARKER{:016x}WEFT", u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // Small devices: every byte of them is searched, holes too.
    let cluster = Cluster::up_with(ClusterOptions { drive_size: "128MiB", ..ClusterOptions::default() });
    let capture = Capture::start(cluster.scratch(), cluster.port_base()..cluster.port_base() + 32);

    let mount = cluster.mount();
    let file = mount.join(format!("{marker}.file"));
    fs::write(&file, marker.repeat(500)).expect("write");
    fs::write(mount.join("small"), &marker).expect("write");
    std::os::unix::fs::symlink(&marker, mount.join("link")).expect("symlink");
    let at = file.to_string_lossy().into_owned();
    run(&mut program("setfattr", &["-n", &format!("user.{marker}"), "-v", &marker, &at])).success();
    fs::create_dir(mount.join(&marker)).expect("mkdir");
    fs::rename(&file, mount.join(&marker).join("renamed")).expect("rename");
    run(&mut program("sync", &["-f", &mount.to_string_lossy()])).success();
    fs::File::open(mount.join("small")).expect("open").sync_all().expect("fsync");
    // Read back through a new mount, so that the answers cross the wire too.
    cluster.kill("frontend0");
    cluster.start().success();
    assert_eq!(fs::read_to_string(mount.join(&marker).join("renamed")).expect("read"), marker.repeat(500));
    assert_eq!(fs::read_link(mount.join("link")).expect("readlink").to_string_lossy(), marker);

    // The control is found by the same scans: in a file of the cluster's folder and in a packet on its ports.
    let control = cluster.dir().join("control");
    fs::write(&control, &marker).expect("write");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = cluster.port_base() + 31;
    let control_packet = format!("CONTROL{marker}");
    socket.send_to(control_packet.as_bytes(), ("127.0.0.1", port)).expect("send");
    wait_until("the capture has the control", Duration::from_secs(30), || {
        contains(&capture.file, control_packet.as_bytes()).then_some(())
    });

    let pcap = capture.stop();
    assert_eq!(found(&cluster.dir(), &marker, &mount), [control.to_string_lossy()], "in clear on disk");
    let hits = run(Command::new("grep").args(["-aoF", &marker]).arg(&pcap)).success();
    assert_eq!(hits.stdout.lines().count(), 1, "only the control is in clear on the wire");
    assert!(fs::metadata(&pcap).expect("stat").len() > 100_000, "the capture saw the cluster's packets");

    cluster.down();
    assert_eq!(
        found(&cluster.dir(), &marker, &mount),
        [control.to_string_lossy()],
        "in clear on disk after down"
    );
}
