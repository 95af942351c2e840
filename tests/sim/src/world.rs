//! The cluster as a whole, and how it begins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use weft_drive::custody::Copying;
use weft_kms::KeyManagement;
use weft_layout::{ClusterMap, DriveEntry, DriveState, NodeEntry, place};
use weft_pki::ClusterAuthority;
use weft_types::{ByteCount, ClusterId, Incarnation, MapVersion, NodeId, SessionId, Timestamp};
use weft_wire::store::PutStore;

use crate::checks::Checks;
use crate::compute::ComputeNode;
use crate::dice::Dice;
use crate::drives::{DRIVE_BYTES, DriveSlot, drive_id, drive_node};
use crate::keys;
use crate::manager::{MANAGER, Managing};
use crate::net::Net;
use crate::simulate::Options;
use crate::trace::Trace;

/// The one filesystem.
pub(crate) const FILESYSTEM: &str = "default";
/// Compute nodes.
pub(crate) const COMPUTES: usize = 2;

const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);
/// The time of day when a simulation begins.
pub(crate) const BEGINNING: i64 = 1_800_000_000;

/// Work that stays on the thread.
pub(crate) type Job = Box<dyn FnOnce() -> core::pin::Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Everything there is.
pub(crate) struct World {
    /// How it is run.
    pub(crate) options: Options,
    /// Which schedule it is.
    pub(crate) seed: u64,
    /// What happened.
    pub(crate) trace: Trace,
    /// The network.
    pub(crate) net: Net,
    /// What was sealed.
    pub(crate) checks: Checks,
    /// The drives.
    pub(crate) drives: Vec<DriveSlot>,
    /// The compute nodes.
    pub(crate) computes: Vec<ComputeNode>,
    /// Management.
    pub(crate) manager: Mutex<Option<Managing>>,
    /// The compute node that clients ask, as they last found out.
    pub(crate) preferred: AtomicUsize,
    /// Mutations of sessions that arrived, for slots that forget.
    pub(crate) forgotten: Mutex<BTreeMap<SessionId, u64>>,
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The cluster's authority.
    pub(crate) authority: &'static ClusterAuthority,
    /// Wraps keys.
    pub(crate) kms: Arc<dyn KeyManagement>,
    /// Takes work that stays on the thread.
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
}

/// The node of a compute process.
pub(crate) fn compute_node(number: usize) -> NodeId {
    NodeId::from_bytes([number as u8 + 0x61; 16])
}

fn first_map(protection: &str, drives: usize) -> ClusterMap {
    let drive = |number: usize| DriveEntry {
        id: drive_id(number),
        node: drive_node(number),
        incarnation: Incarnation::new(1),
        name: format!("drives{number}"),
        address: format!("127.0.0.1:{}", 7402 + number),
        failure_domain: format!("host{number}"),
        capacity: ByteCount::new(DRIVE_BYTES),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    };
    let node = |node: NodeId, port: usize| NodeEntry {
        node,
        name: format!("node{port}"),
        address: format!("127.0.0.1:{port}"),
    };
    let vacant = ClusterMap {
        cluster: CLUSTER,
        version: MapVersion::new(0),
        protection: protection.parse().expect("offered"),
        drives: (0..drives).map(drive).collect(),
        groups: Vec::new(),
        computes: (0..COMPUTES).map(|number| node(compute_node(number), 7300 + number)).collect(),
        management: node(MANAGER, 7400),
    };
    place(&vacant).expect("domains enough").map
}

impl World {
    /// A cluster of formatted drives with the first version of its store; nothing runs yet.
    pub(crate) async fn found(
        seed: u64,
        options: Options,
        dir: PathBuf,
        jobs: mpsc::UnboundedSender<Job>,
    ) -> Arc<Self> {
        weft_management::simulation::draw_from_seed(seed ^ 0x5eed);
        let mut dice = Dice::new(seed, 2);
        let (protection, least) = if dice.per_mille(250) { ("2+1", 3) } else { ("4+2", 6) };
        let drives = least + dice.index(3);
        let (authority, kms) = (keys::authority(), keys::kms());
        let map = first_map(protection, drives);
        let founded = weft_management::found(map, authority, &*kms).await.expect("founded");
        let world = Arc::new(Self {
            seed,
            trace: Trace::new(seed, options.told),
            net: Net::new(seed),
            checks: Checks::default(),
            drives: (0..drives)
                .map(|n| DriveSlot::format(CLUSTER, n, options.lies_about_flushes()))
                .collect(),
            computes: (0..COMPUTES).map(|number| ComputeNode::new(seed, number, &dir)).collect(),
            manager: Mutex::new(None),
            preferred: AtomicUsize::new(0),
            forgotten: Mutex::default(),
            cluster: CLUSTER,
            authority,
            kms,
            jobs,
            options,
        });
        world.trace.note(format_args!("seed {seed}: {protection} on {drives} drives"));
        for number in 0..drives {
            world.start_drive(number, &mut dice);
        }
        for home in &founded.voters {
            let call = PutStore { term: founded.term, version: founded.version };
            let number = crate::drives::drive_number(home.drive);
            let put =
                world.at_drive(number, |local| local.run::<Copying>(MANAGER, call, founded.copy.clone()));
            put.expect("it runs").expect("taken");
        }
        world
    }

    /// Losses that the cluster survives.
    pub(crate) fn losses_max(&self) -> usize {
        if self.drives.len() < 6 { 1 } else { 2 }
    }

    /// The time of day, by a clock that is off by some milliseconds.
    pub(crate) fn time_of_day(&self, off_by: i64) -> Timestamp {
        let since = i64::try_from(self.trace.elapsed().as_millis()).unwrap_or(i64::MAX) + off_by;
        let nanos = u32::try_from(since.rem_euclid(1000) * 1_000_000).unwrap_or(0);
        Timestamp { seconds: BEGINNING + since.div_euclid(1000), nanos }
    }
}
