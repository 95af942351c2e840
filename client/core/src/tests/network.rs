//! The same over QUIC on the loopback interface: eight servers, and a mount with its own thread.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::mpsc;

use bytes::Bytes;
use tokio::task::JoinSet;
use weft_pki::{ClusterAuthority, Credentials, NodeIdentity, Validity};
use weft_transport::{CallContext, Failure as Answered, Peer, Router, Server, ServerSettings};
use weft_types::{DriveId, NodeId, Role, Timestamp};
use weft_wire::Fault as WireFault;
use weft_wire::compute::{CloseSession, Meta, OpenSession, RenewSession, SessionHolder};
use weft_wire::drive::{GetShard, PutShard, ShardRead};
use weft_wire::grant::PresentGrant;
use weft_wire::management::{GetMap, Heartbeat, NodeReport};

use super::*;
use crate::backend::{Backend, Failure};
use crate::{CoreConfig, MountError};

const DEADLINE: Duration = Duration::from_secs(5);
const ALL: [Role; 1] = [Role::Frontend];

fn answered<T, R>(answer: Result<T, Failure<R>>) -> Result<(T, Bytes), Answered<R>> {
    answer.map(|reply| (reply, Bytes::new())).map_err(|failure| match failure {
        Failure::Refused(refusal) => Answered::Refused(refusal),
        _ => Answered::Fault(WireFault::NotServing),
    })
}

fn drive_router(fake: &Arc<Fake>, drive: DriveId) -> Router {
    let (putting, getting, granting) = (Arc::clone(fake), Arc::clone(fake), Arc::clone(fake));
    Router::new()
        .on(&ALL, move |_: CallContext, call: PresentGrant, _| {
            let answer = granting.present(drive, call, DEADLINE);
            async move { answered(answer.await) }
        })
        .on(&ALL, move |_: CallContext, call: PutShard, bytes| {
            let answer = putting.put(drive, call, bytes, DEADLINE);
            async move { answered(answer.await) }
        })
        .on(&ALL, move |_: CallContext, call: GetShard, _| {
            let answer = getting.get(drive, call, DEADLINE);
            async move {
                let bytes = answered(answer.await)?.0;
                Ok((ShardRead {}, bytes))
            }
        })
}

fn compute_router(fake: &Arc<Fake>) -> Router {
    let (opening, renewing, closing) = (Arc::clone(fake), Arc::clone(fake), Arc::clone(fake));
    let meta = Arc::clone(fake);
    Router::new()
        .on(&ALL, move |_: CallContext, call: OpenSession, _| {
            let opened = opening.open_session(call.read_only);
            async move { Ok((opened, Bytes::new())) }
        })
        .on(&ALL, move |_: CallContext, call: RenewSession, _| {
            let answer = renewing.renew(call, DEADLINE);
            async move { answered(answer.await) }
        })
        .on(&ALL, move |_: CallContext, call: CloseSession, _| {
            let answer = closing.close(call, DEADLINE);
            async move { answered(answer.await) }
        })
        .on(&ALL, move |_: CallContext, call: Meta, _| {
            let answer = meta.meta(call, DEADLINE);
            async move { answered(answer.await) }
        })
}

fn management_router(fake: &Arc<Fake>) -> Router {
    let (mapping, beating) = (Arc::clone(fake), Arc::clone(fake));
    Router::new()
        .on(&ALL, move |_: CallContext, call: GetMap, _| {
            let answer = Backend::map(&*mapping, call.known, DEADLINE);
            async move { answered(answer.await) }
        })
        .on(&ALL, move |_: CallContext, call: Heartbeat, _| {
            let NodeReport::Frontend(report) = call.report else { panic!("a frontend's report") };
            let answer = beating.heartbeat(report, DEADLINE);
            async move { answered(answer.await) }
        })
}

/// A cluster whose processes listen on free ports, as long as the value lives.
struct Cluster {
    fake: Arc<Fake>,
    authority: ClusterAuthority,
    management: Peer,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_unix(since.expect("after 1970"))
}

fn issue(authority: &ClusterAuthority, role: Role, node: NodeId) -> Credentials {
    let identity = NodeIdentity { cluster: authority.cluster(), role, node };
    authority.issue(identity, Validity::of_a_node(now()).expect("a year")).expect("a certificate")
}

impl Cluster {
    fn start() -> Self {
        let fake = Fake::new();
        let map = fake.map();
        let authority = ClusterAuthority::create(map.cluster, now()).expect("an authority");
        let mut servers = vec![
            (issue(&authority, Role::Management, map.management.node), management_router(&fake)),
            (issue(&authority, Role::Compute, map.computes[0].node), compute_router(&fake)),
        ];
        for drive in &map.drives {
            servers.push((issue(&authority, Role::Drive, drive.node), drive_router(&fake, drive.id)));
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let addresses = serve(servers, stopped);
        {
            let mut state = fake.state();
            state.map.management.address = addresses[0].to_string();
            state.map.computes[0].address = addresses[1].to_string();
            for (drive, address) in state.map.drives.iter_mut().zip(&addresses[2..]) {
                drive.address = address.to_string();
            }
        }
        let identity =
            NodeIdentity { cluster: map.cluster, role: Role::Management, node: map.management.node };
        let management = Peer { identity, address: addresses[0] };
        Self { fake, authority, management, _stop: stop }
    }

    fn config(&self) -> CoreConfig {
        CoreConfig {
            management: self.management,
            credentials: issue(&self.authority, Role::Frontend, NodeId::from_bytes([77; 16])),
            filesystem: "default".to_owned(),
            read_only: false,
            holder: SessionHolder {
                host: "h".to_owned(),
                boot: "b".to_owned(),
                pid: 1,
                mount: "/mnt".to_owned(),
            },
            container: String::new(),
            memory: MEMORY_MIN,
            access_times: false,
        }
    }
}

/// Serves on a thread of its own until `stopped`; says where.
fn serve(
    servers: Vec<(Credentials, Router)>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Vec<SocketAddr> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut serving = JoinSet::new();
            for (credentials, router) in servers {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let server =
                    Server::bind(any, &credentials, router, ServerSettings::default()).expect("binds");
                tell.send(server.address()).expect("somebody listens");
                serving.spawn(server.serve(core::future::pending()));
            }
            drop(tell);
            let _ = stopped.await;
        });
    });
    told.iter().collect()
}

#[test]
fn a_file_goes_over_the_network_and_comes_back_without_two_drives() {
    let cluster = Cluster::start();
    let bytes = pattern((9 << 20) + 5, 1);
    let core = Core::mount(cluster.config()).expect("mounts");
    let inode = core.runtime().block_on(async {
        let inode = put_file(&core, "a", &bytes).await;
        core.unmount(Duration::from_secs(30)).await.expect("all is written");
        inode
    });
    drop(core);
    for (number, fault) in [(0, Fault::Dead), (3, Fault::Hanging)] {
        cluster.fake.fault(number, fault);
    }
    let core = Core::mount(cluster.config()).expect("mounts again");
    core.runtime().block_on(async {
        assert!(get_file(&core, inode, 1 << 17).await.expect("reads") == bytes);
        core.unmount(Duration::from_secs(30)).await.expect("nothing to write");
    });
    assert!(core.counts().reconstructions > 0);
}

#[test]
fn a_mount_without_management_says_so() {
    let cluster = Cluster::start();
    let mut config = cluster.config();
    config.management.identity.node = NodeId::from_bytes([66; 16]);
    let error = Core::mount(config).expect_err("another node answers there");
    assert!(matches!(error, MountError::Management { .. }), "{error}");
}
