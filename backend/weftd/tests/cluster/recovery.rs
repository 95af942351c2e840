//! A cluster that lost everything but devices and its KMS key, and one whose old copies were brought back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_layout::DriveState;
use weft_pki::NodeIdentity;
use weft_resources::{ClusterDir, ContainerName};
use weft_transport::Peer;
use weft_types::Role;
use weft_wire::store::OpenStore;

use super::host::{self, Host, Offer};

/// A cluster with a filesystem, killed; its devices and its key lie aside and its directory is gone.
struct Wreck {
    host: Host,
    devices: Vec<PathBuf>,
    key: PathBuf,
}

impl Wreck {
    fn new() -> Self {
        let mut host = Host::new();
        host.form(&Offer::default()).expect("formed");
        host.start_all();
        let admin = host.admin();
        admin.create_filesystem("home").expect("created");
        host.kill_all();
        let aside = |name: &str| host.aside().join(name);
        let key = aside("key");
        fs::rename(host.dir().resolve(Path::new(ClusterDir::KMS_KEY)), &key).expect("moved");
        let devices: Vec<_> = (0..3).map(|index| aside(&format!("device{index}"))).collect();
        for (index, device) in (0..).zip(&devices) {
            fs::rename(host.device(index), device).expect("moved");
        }
        fs::remove_dir_all(host.dir().root()).expect("removed");
        Self { host, devices, key }
    }
}

fn names(host: &Host) -> Vec<String> {
    host.admin().list_filesystems().into_iter().map(|info| info.name).collect()
}

#[test]
fn a_majority_of_the_drives_and_the_key_bring_a_cluster_back() {
    let Wreck { mut host, devices, key } = Wreck::new();
    let recovered = host.recover(&devices[1..], &key, false).expect("recovered");
    assert_eq!((recovered.voters_read, recovered.voters), (2, 3));
    assert!(recovered.drives[0].device.is_none() && recovered.drives[1].device.as_ref() == Some(&devices[1]));
    assert!(recovered.warnings.iter().any(|line| line.starts_with("drive0 not found")), "{recovered:?}");

    let ended = host.run_to_end(&ContainerName::drive(0));
    assert!(ended.line.contains("there is no device"), "{}", ended.line);
    host.start_these(&[ContainerName::compute0(), ContainerName::drive(1), ContainerName::drive(2)]);
    assert_eq!(names(&host), ["home"]);
    let admin = host.admin();
    admin.wait_status("its loss is known", Duration::from_secs(20), |status| {
        status.map.drives.iter().any(|drive| drive.name == "drive0" && drive.state == DriveState::Down)
    });
    admin.create_filesystem("more").expect("it goes on");

    // The same again beside what is there now, once nothing of it runs.
    let line = host.recover(&devices[1..], &key, false).expect_err("runs");
    assert!(line.contains("is running; stop it with `weft down` first"), "{line}");
    host.kill_all();
    host.recover(&devices, &key, false).expect("recovered");
    host.start_all();
    assert_eq!(names(&host), ["home", "more"]);
}

#[test]
fn less_than_a_majority_is_taken_only_when_the_loss_is_accepted() {
    let Wreck { mut host, devices, key } = Wreck::new();
    let line = host.recover(&devices[..1], &key, false).expect_err("too few");
    assert!(line.contains("1 of 3 voting drives answer") && line.contains("--accept-loss"), "{line}");
    assert!(!host.dir().cluster_file().exists(), "it is no cluster yet");

    let recovered = host.recover(&devices[..1], &key, true).expect("recovered");
    assert_eq!((recovered.voters_read, recovered.voters), (1, 1));
    assert!(recovered.warnings.iter().any(|line| line.contains("must never be started")), "{recovered:?}");
    host.start_these(&[ContainerName::compute0(), ContainerName::drive(0)]);
    assert_eq!(names(&host), ["home"]);
}

#[test]
fn what_cannot_be_recovered_says_why_and_changes_nothing() {
    let Wreck { host, devices, key } = Wreck::new();
    let other = Wreck::new();
    let letter = host.aside().join("letter");
    fs::write(&letter, vec![b'x'; 1 << 20]).expect("written");
    let mixed = [devices[0].clone(), other.devices[1].clone()];
    let rows = [
        (host.recover(&devices, &other.key, false), "name the key file of this very cluster with --kms-key"),
        (host.recover(std::slice::from_ref(&letter), &key, false), "none of the devices can be used"),
        (host.recover(&mixed, &key, false), "name the devices of one cluster"),
        (host.recover(&devices, &letter, false), "KMS key"),
    ];
    for (outcome, cause) in rows {
        let line = outcome.expect_err(cause);
        assert!(line.starts_with("weftd: ") && line.contains(cause), "{cause}: {line}");
        assert!(!host.dir().root().exists(), "{cause}");
    }
    let twin = host.aside().join("twin");
    fs::copy(&devices[0], &twin).expect("copied");
    let line = host.recover(&[devices[0].clone(), twin], &key, false).expect_err("twice");
    assert!(line.contains("both say that they are drive"), "{line}");

    // One device that is none does not stand in the way.
    let recovered = host.recover(&[&devices[..], &[letter]].concat(), &key, false).expect("recovered");
    assert!(recovered.warnings.iter().any(|line| line.contains("letter")), "{recovered:?}");
}

#[test]
fn old_copies_that_were_brought_back_serve_nothing() {
    let mut host = Host::new();
    host.form(&Offer { drives: 4, ..Offer::default() }).expect("formed");
    let saved: Vec<_> = (0..3).map(|index| host.aside().join(format!("saved{index}"))).collect();
    for (index, saved) in (0..).zip(&saved) {
        fs::copy(host.device(index), saved).expect("copied");
    }
    host.start_all();
    let admin = host.admin();
    admin.create_filesystem("home").expect("created");
    // The fourth has no copy; it hears of the store by the answers to its heartbeats.
    let status =
        admin.wait_status("all is well", Duration::from_secs(20), |status| status.store.holding == 3);
    assert_eq!(status.store.voters, 3);
    let management = host.client(&host.credentials("compute0-management"));
    let fourth = &status.map.drives[3];
    let identity = NodeIdentity { cluster: status.map.cluster, role: Role::Drive, node: fourth.node };
    let fourth = Peer { identity, address: fourth.address.parse().expect("an address") };
    host::wait("the fourth has heard", Duration::from_secs(20), || {
        let held = management.call_to(&fourth, &OpenStore { term: None }).ok()?;
        (held.copy.is_none() && held.seen >= status.store.version).then_some(())
    });
    host.kill_all();
    for (index, saved) in (0..).zip(&saved) {
        fs::copy(saved, host.device(index)).expect("copied back");
    }
    let drives: Vec<_> = (0..4).map(ContainerName::drive).collect();
    host.start_these(&drives);
    let ended = host.run_to_end(&ContainerName::compute0());
    assert!(ended.line.contains("the cluster store is an old one that was brought back"), "{}", ended.line);
    assert!(ended.line.contains("--accept-loss"), "{}", ended.line);
}
