//! A cluster of real processes: formed, started, watched, hurt and stopped.

mod host;
mod recovery;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;

use host::{Host, Offer};
use weft_layout::DriveState;
use weft_resources::{ClusterDir, ContainerName, Phase};
use weft_transport::CallError;
use weft_types::{MetadataShard, Role};
use weft_wire::Fault;
use weft_wire::compute::{CloseSession, OpenSession, SessionHolder};
use weft_wire::management::{FilesystemRefusal, ListFilesystems, OwnFilesystem, Severity, Status};

fn drives_up(status: &Status) -> usize {
    status.map.drives.iter().filter(|drive| drive.state == DriveState::Up).count()
}

/// Nothing is wrong: only notices are left.
fn is_healthy(status: &Status) -> bool {
    let heard = |role, count| {
        let nodes = || status.nodes.iter().filter(|node| node.role == role);
        nodes().count() == count && nodes().all(|node| node.up && node.last.is_some())
    };
    let quiet = status.alerts.iter().all(|alert| alert.severity == Severity::Notice);
    quiet && drives_up(status) == 3 && heard(Role::Drive, 3) && heard(Role::Compute, 1)
}

#[test]
fn a_cluster_is_formed_started_hurt_and_stopped() {
    let mut host = Host::new();
    let formed = host.form(&Offer::default()).expect("formed");
    assert_eq!((formed.state.drives, formed.cleaned), (3, false));
    host.start_all();
    let client = host.admin();
    let status = client.wait_status("it is healthy", Duration::from_secs(10), is_healthy);
    assert_eq!(status.losses_survived, Some(1));
    assert!(status.kms.starts_with("local "), "{}", status.kms);
    assert!(status.alerts.iter().any(|alert| alert.severity == Severity::Notice), "the local KMS is said");
    assert!(status.free.get() > 0 && status.free <= status.capacity);
    let version = status.map.version;

    // A name is created once, and what is durable outlasts the process.
    let created = client.create_filesystem("default").expect("created");
    assert_eq!(client.create_filesystem("default"), Err(FilesystemRefusal::Exists));
    assert_eq!(client.create_filesystem("Default"), Err(FilesystemRefusal::BadName));
    assert_eq!(client.list_filesystems(), std::slice::from_ref(&created));

    let victim = ContainerName::drive(1);
    host.kill(&victim);
    let seen = client.wait_status("the drive is down", Duration::from_secs(6), |s| drives_up(s) == 2);
    assert!(seen.map.version > version);
    assert_eq!(seen.losses_survived, Some(0));
    assert!(seen.alerts.iter().any(|alert| alert.cause.contains("drive1")), "{:?}", seen.alerts);
    assert_eq!(host.run_state(&victim).expect("left behind").state, Phase::Running);
    host.start(&victim);
    client.wait_status("the drive is back", Duration::from_secs(5), is_healthy);

    let second = host.run_to_end(&victim);
    assert!(second.line.contains("drive1 is running already; stop that one first"), "{}", second.line);

    host.kill(&ContainerName::compute0());
    host.start(&ContainerName::compute0());
    client.wait_status("management is back", Duration::from_secs(10), is_healthy);
    assert_eq!(client.list_filesystems(), [created]);

    for name in host.names() {
        assert!(host.stop(&name), "{name} stops cleanly");
        assert_eq!(host.run_state(&name), None, "{name} leaves no state behind");
    }
}

#[test]
fn a_mounted_filesystem_is_not_deleted_and_another_is_gone_for_good() {
    let mut host = Host::new();
    host.form(&Offer::default()).expect("formed");
    host.start_all();
    let admin = host.admin();
    admin.wait_status("it is healthy", Duration::from_secs(10), is_healthy);
    let created = admin.create_filesystem("home").expect("created");
    let frontend = host.client(&host.credentials("frontend0-frontend"));
    let compute = frontend.compute();
    let open = OpenSession {
        filesystem: "home".to_owned(),
        read_only: false,
        holder: SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 7, mount: "/m".to_owned() },
        replaces: None,
    };
    let opened = frontend.call_to(&compute, &open).expect("open");
    assert_eq!(opened.filesystem, created.id);
    let refusal = admin.delete_filesystem("home").expect_err("mounted");
    assert!(
        matches!(&refusal, FilesystemRefusal::Mounted { holder } if holder.contains("/m")),
        "{refusal:?}"
    );
    assert_eq!(admin.list_filesystems(), [created], "as if nobody had asked");

    let close = CloseSession { filesystem: opened.filesystem, session: opened.session };
    frontend.call_to(&compute, &close).expect("closed");
    admin.delete_filesystem("home").expect("deleted");
    host::wait("its row is gone", Duration::from_secs(20), || {
        admin.list_filesystems().is_empty().then_some(())
    });
    assert_eq!(admin.delete_filesystem("home"), Err(FilesystemRefusal::NotFound));
    assert!(admin.create_filesystem("home").is_ok(), "the name is free again");

    // Each may do what its certificate says, and nothing else.
    assert!(frontend.call(&ListFilesystems {}).is_err_and(|error| matches!(error, CallError::Fault(_))));
    let own = OwnFilesystem { name: "home".to_owned(), shard: MetadataShard::new(0) };
    assert!(admin.call(&own).is_err_and(|error| matches!(error, CallError::Fault(Fault::Unauthorised))));
}

#[test]
fn what_is_private_is_its_owners_and_nothing_secret_lies_about() {
    let host = Host::new();
    let formed = host.form(&Offer::default()).expect("formed");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let dir = host.dir();
    assert_eq!(mode(&dir.admin_credentials()), 0o600);
    assert_eq!(mode(&dir.resolve(ClusterDir::KMS_KEY.as_ref())) & 0o077, 0);
    for folder in ["kms", "pki", "compute0", "drives"] {
        assert_eq!(mode(&dir.root().join(folder)), 0o700, "{folder}");
    }
    assert!(!dir.forming_mark().exists());
    assert_eq!(formed.state.containers.len(), 1 + 3 + 1);
    let keys = host.files_with(b"PRIVATE KEY");
    assert_eq!(keys.len(), 2 + 3 + 1 + 1, "each node has its own and the authority's is sealed: {keys:?}");
}

#[test]
fn what_cannot_be_formed_says_why_and_leaves_nothing() {
    let host = Host::new();
    let rows = [
        (Offer { protection: "4+3", ..Offer::default() }, "parity shards must be 2 or 4"),
        (Offer { protection: "4+2", ..Offer::default() }, "needs 6 drives (4 data + 2 parity"),
        (Offer { drive_size: 1 << 20, ..Offer::default() }, "are too small"),
        (Offer { drive_size: 1 << 60, ..Offer::default() }, "are free; make room"),
    ];
    for (offer, cause) in rows {
        let line = host.form(&offer).expect_err(cause);
        assert!(line.starts_with("weftd: ") && line.contains(cause), "{line}");
        assert!(!host.dir().root().exists(), "{cause}");
    }
    host.form(&Offer::default()).expect("formed");
    let line = host.form(&Offer::default()).expect_err("exists");
    assert!(line.contains("there is a cluster in"), "{line}");
}

/// Spoils a formed cluster; returns what to run.
type Spoil = fn(&Host) -> ContainerName;

const BAD_INPUTS: [(Spoil, &str); 12] = [
    (truncated_container, "is cut off after 100 bytes; restore it from a backup"),
    (newer_container, "written by a newer weft (format 3, this build reads 2)"),
    (|host| host.rename_container("drive0", "drive9"), "describes container drive0; give the file"),
    (|host| host.remove(&host.dir().cluster_file()), "cannot read the cluster state file"),
    (|host| host.truncate(&host.dir().cluster_file(), 50), "is cut off after 50 bytes"),
    (foreign_container, "put the cluster's own files back"),
    (|host| host.swap(&host.device(0), &host.device(1)), "put the cluster's own device back at this path"),
    (foreign_device, "put the cluster's own device back at this path"),
    (|host| host.remove(&host.device(0)), "bring the device back"),
    (|host| host.truncate(&host.device(0), 33 << 20), "it is truncated; restore the device"),
    (wiped_superblock, "not a weft device; restore the device"),
    (|host| host.truncate(&host.credentials("drive0-drive"), 300), "holds no usable certificate and key: "),
];

fn truncated_container(host: &Host) -> ContainerName {
    host.truncate(&host.dir().container_file(&ContainerName::drive(0)), 100)
}

fn newer_container(host: &Host) -> ContainerName {
    host.edit(&host.dir().container_file(&ContainerName::drive(0)), "\"format\": 2", "\"format\": 3")
}

fn foreign_container(host: &Host) -> ContainerName {
    let other = Host::new();
    other.form(&Offer::default()).expect("formed");
    let file = |host: &Host| host.dir().container_file(&ContainerName::drive(0));
    fs::copy(file(&other), file(host)).expect("copied");
    ContainerName::drive(0)
}

fn foreign_device(host: &Host) -> ContainerName {
    let other = Host::new();
    other.form(&Offer::default()).expect("formed");
    fs::copy(other.device(0), host.device(0)).expect("copied");
    ContainerName::drive(0)
}

fn wiped_superblock(host: &Host) -> ContainerName {
    let device = fs::OpenOptions::new().write(true).open(host.device(0)).expect("opens");
    let size = device.metadata().expect("there").len();
    for block in [0, 1, 7, size / 4096 - 1] {
        device.write_all_at(&[0; 4096], block * 4096).expect("written");
    }
    ContainerName::drive(0)
}

#[test]
fn what_cannot_be_run_says_why_in_one_line() {
    for (spoil, cause) in BAD_INPUTS {
        let host = Host::new();
        host.form(&Offer::default()).expect("formed");
        let ended = host.run_to_end(&spoil(&host));
        assert_eq!(ended.code, Some(1), "{cause}: {}", ended.line);
        assert!(ended.line.starts_with("weftd: ") && ended.line.contains(cause), "{cause}: {}", ended.line);
    }
}

#[test]
fn a_taken_port_and_a_missing_kms_key_are_said_and_left_in_the_state() {
    let host = Host::new();
    host.form(&Offer::default()).expect("formed");
    let taken = std::net::UdpSocket::bind(host.drive_address(0)).expect("free");
    let drive = ContainerName::drive(0);
    let ended = host.run_to_end(&drive);
    assert!(ended.line.contains("the port is taken: stop the process that has it"), "{}", ended.line);
    let state = host.run_state(&drive).expect("said").state;
    assert!(matches!(&state, Phase::Failed(line) if ended.line.ends_with(line)), "{state:?}");
    drop(taken);

    fs::remove_file(host.dir().resolve(ClusterDir::KMS_KEY.as_ref())).expect("removed");
    let ended = host.run_to_end(&ContainerName::compute0());
    assert!(ended.line.contains("is missing: restore it from a backup"), "{}", ended.line);
}
