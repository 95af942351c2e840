//! A cluster in memory, behind the seam.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use tokio::time::{Instant, sleep};
use weft_layout::{ClusterMap, DriveEntry, DriveState, Membership, NodeEntry, PlacementGroup};
use weft_types::{
    ByteCount, ClusterId, Digest, DriveId, Epoch, GroupId, Incarnation, Inode, MapVersion, NodeId, SessionId,
    SlotId, SlotSeq, StoreVersion, Timestamp,
};
use weft_wire::NoRefusal;
use weft_wire::coherence::{AckRecalls, Acked, Attach, Place, Recalls, Term, WatchRecalls};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed, SessionGone,
    SessionOpened, SessionRenewed,
};
use weft_wire::drive::{GetRefusal, GetShard, PutRefusal, PutShard, ShardKey, ShardStored};
use weft_wire::grant::{GrantRefusal, GrantTaken, PresentGrant, SignedGrant};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::management::{FrontendReport, HeartbeatHeard, HeartbeatRefusal, MapReply};
use weft_wire::meta::{Attributes, Caller, MapEntry, MetaError, MetaOp, MetaReply, ReadMap};

use super::drives::{Drive, Fault};
use super::lock_server::Locks;
use super::metadata::{FILESYSTEM, Owner};
use crate::backend::{Answer, Backend, Failure};

/// How often recalls are looked for.
const RECALLS_POLLED: Duration = Duration::from_millis(50);
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How late, and which operations.
pub(super) type Late = (Duration, fn(&MetaOp) -> bool);

#[derive(Debug)]
pub(super) struct Fake(Mutex<State>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) owner: Owner,
    pub(super) locks: Arc<Locks>,
    pub(super) drives: HashMap<DriveId, Drive>,
    pub(super) map: ClusterMap,
    /// Metadata calls whose request is lost.
    pub(super) lost_requests: u32,
    /// Metadata calls whose reply is lost.
    pub(super) lost_replies: u32,
    /// Metadata calls whose reply is none.
    pub(super) broken_replies: u32,
    /// Answers to some operations are under way for so long.
    pub(super) late: Option<Late>,
    /// Management has no newer map.
    pub(super) map_silent: bool,
    /// Nobody answers for the metadata.
    pub(super) owner_silent: bool,
    /// The sessions were ended behind their backs, and there are no others: the filesystem is being deleted.
    pub(super) ended: bool,
    /// Sessions that were ended behind their backs.
    over: HashSet<SessionId>,
    /// Sessions of mounts that are gone.
    buried: HashSet<SessionId>,
    pub(super) closed: bool,
    pub(super) reports: Vec<FrontendReport>,
    /// Shards that were put, in the order of the calls.
    pub(super) trace: Vec<(DriveId, ShardKey)>,
    /// What was ever put under an id, wherever: an id is sealed once.
    pub(super) sealed: HashMap<ShardKey, Digest>,
    sessions: u8,
    clock: i64,
}

pub(super) fn drive(number: u8) -> DriveId {
    DriveId::from_bytes([number + 1; 16])
}

fn map(drives: u8, groups: u32) -> ClusterMap {
    let entry = |number: u8| DriveEntry {
        id: drive(number),
        node: NodeId::from_bytes([number + 1; 16]),
        incarnation: Incarnation::new(1),
        name: format!("drives{number}"),
        address: format!("127.0.0.1:{}", 7000 + u16::from(number)),
        failure_domain: format!("host{number}"),
        capacity: ByteCount::new(1 << 40),
        state: DriveState::Up,
        returned: MapVersion::default(),
        missing: 0,
    };
    let node = |number: u8| NodeEntry {
        node: NodeId::from_bytes([number; 16]),
        name: format!("node{number}"),
        address: format!("127.0.0.1:{}", 8000 + u16::from(number)),
    };
    // Each group is the drives in another order.
    let group = |id: u32| PlacementGroup {
        id: GroupId::new(id),
        epoch: Epoch::new(1),
        members: (0..6).map(|member| drive((member + id as u8) % drives)).collect(),
        history: Vec::new(),
    };
    ClusterMap {
        cluster: ClusterId::from_bytes([9; 16]),
        version: MapVersion::new(1),
        protection: "4+2".parse().expect("offered"),
        drives: (0..drives).map(entry).collect(),
        groups: (0..groups).map(group).collect(),
        computes: vec![node(100)],
        management: node(101),
    }
}

impl Fake {
    /// Six drives, 4+2, and three groups over all of them.
    pub(super) fn new() -> Arc<Self> {
        Self::of(6)
    }

    pub(super) fn of(drives: u8) -> Arc<Self> {
        let map = map(drives, 3);
        map.validate().expect("a sound map");
        Arc::new(Self(Mutex::new(State {
            owner: Owner::new(),
            locks: Arc::default(),
            drives: (0..drives).map(|number| (drive(number), Drive::default())).collect(),
            map,
            lost_requests: 0,
            lost_replies: 0,
            broken_replies: 0,
            late: None,
            map_silent: false,
            owner_silent: false,
            ended: false,
            over: HashSet::new(),
            buried: HashSet::new(),
            closed: false,
            reports: Vec::new(),
            trace: Vec::new(),
            sealed: HashMap::new(),
            sessions: 0,
            clock: 0,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn map(&self) -> ClusterMap {
        self.state().map.clone()
    }

    pub(super) fn fault(&self, number: u8, fault: Fault) {
        self.state().drives.get_mut(&drive(number)).expect("a drive").fault = fault;
    }

    /// Something is wrong with all drives.
    pub(super) fn fault_all(&self, fault: Fault) {
        self.state().drives.values_mut().for_each(|drive| drive.fault = fault);
    }

    /// The map says that a drive is down, or up again.
    pub(super) fn report(&self, number: u8, state: DriveState) {
        let mut inner = self.state();
        inner.map.version = inner.map.version.next();
        inner.map.drives[usize::from(number)].state = state;
    }

    /// All mounts so far are gone.
    pub(super) fn end_leases(&self) {
        let mut state = self.state();
        for number in 1..=state.sessions {
            let session = SessionId::from_bytes([number; 16]);
            state.owner.leases.end(session);
            state.buried.insert(session);
        }
    }

    /// A session is ended behind its back, as one that was cut off for too long.
    pub(super) fn expire(&self, session: SessionId) {
        let mut state = self.state();
        state.over.insert(session);
        state.owner.end(session);
        state.locks.end(session);
        for drive in state.drives.values_mut() {
            drive.closed.insert(session);
        }
    }

    pub(super) fn open_session(&self, read_only: bool) -> SessionOpened {
        let mut state = self.state();
        state.sessions += 1;
        let session = SessionId::from_bytes([state.sessions; 16]);
        let place = state.owner.open(session, read_only);
        let lease_ms = LEASE.as_millis() as u32;
        let grant =
            SignedGrant { body: session.to_bytes().to_vec().into(), signature: ByteVec::from(vec![]) };
        SessionOpened {
            session,
            filesystem: FILESYSTEM,
            lease_ms,
            slots: 16,
            grant,
            place,
            others: Vec::new(),
        }
    }

    /// A drive's process starts anew: it knows what is durable, and no grant.
    pub(super) fn restart(&self, number: u8) {
        self.state().drives.get_mut(&drive(number)).expect("a drive").granted.clear();
    }

    /// In every group another drive takes the place of this one, and commits under earlier memberships are refused.
    pub(super) fn replace(&self, number: u8, by: impl Fn(&PlacementGroup) -> u8) {
        let state = &mut *self.state();
        state.map.version = state.map.version.next();
        for group in &mut state.map.groups {
            let other = drive(by(group));
            let Some(place) = group.members.iter().position(|member| *member == drive(number)) else {
                continue;
            };
            let earlier = Membership { epoch: group.epoch, members: group.members.clone() };
            group.epoch = group.epoch.next();
            group.history.insert(0, earlier);
            group.members[place] = other;
            let epoch = group.epoch;
            state.owner.floors.insert(group.id, epoch);
        }
    }

    /// The map of a file, as the owner has it.
    pub(super) fn runs(&self, inode: Inode) -> Vec<MapEntry> {
        let mut state = self.state();
        let (mut runs, mut from) = (Vec::<MapEntry>::new(), 0);
        loop {
            let op = MetaOp::ReadMap(ReadMap { inode, from, until: u64::MAX, limit: 4096 });
            let session = SessionId::from_bytes([state.sessions; 16]);
            let (slot, seq) = (SlotId::new(0), SlotSeq::new(0));
            let call = Meta {
                filesystem: FILESYSTEM,
                session,
                slot,
                seq,
                caller: Caller::default(),
                op,
                term: Term::default(),
            };
            let Ok(MetaReply::Map(page)) = state.owner.run(&call, &[]) else { panic!("a page of a map") };
            runs.extend(page.entries);
            let Some(last) = runs.last().filter(|_| !page.end) else { return runs };
            from = last.offset.get() + u64::from(last.len);
        }
    }

    /// The attributes of an inode, as the owner has them.
    pub(super) fn attributes(&self, inode: Inode) -> Attributes {
        let mut state = self.state();
        let session = SessionId::from_bytes([state.sessions; 16]);
        let (slot, seq, op) = (SlotId::new(0), SlotSeq::new(0), MetaOp::GetAttributes { inode });
        let (caller, term) = (Caller::default(), Term::default());
        let call = Meta { filesystem: FILESYSTEM, session, slot, seq, caller, op, term };
        let answer = state.owner.run(&call, &[]);
        state.owner.calls.pop();
        let Ok(MetaReply::Attributes(attributes)) = answer else { panic!("the attributes of an inode") };
        attributes
    }

    pub(super) fn gets(&self) -> u64 {
        self.state().drives.values().map(|drive| drive.gets).sum()
    }

    /// Metadata operations that were carried out.
    pub(super) fn calls(&self) -> usize {
        self.state().owner.calls.len()
    }
}

fn ready<T: Send + 'static, R: Send + 'static>(answer: Result<T, Failure<R>>) -> Answer<T, R> {
    Box::pin(async move {
        // An answer takes at least one turn of the runtime.
        tokio::task::yield_now().await;
        answer
    })
}

fn silence<T: Send + 'static, R: Send + 'static>(deadline: Duration) -> Answer<T, R> {
    Box::pin(async move {
        sleep(deadline).await;
        Err(Failure::TimedOut)
    })
}

impl Backend for Fake {
    fn meta(&self, call: Meta, deadline: Duration) -> Answer<MetaDone, MetaError> {
        let mut state = self.state();
        if state.owner_silent {
            return silence(deadline);
        }
        if state.lost_requests > 0 {
            state.lost_requests -= 1;
            return ready(Err(Failure::Unreachable));
        }
        let Some(answer) = state.owner.answer(&call) else { return ready(Err(Failure::Busy)) };
        if state.lost_replies > 0 {
            state.lost_replies -= 1;
            return ready(Err(Failure::Unreachable));
        }
        if state.broken_replies > 0 {
            state.broken_replies -= 1;
            return ready(Err(Failure::Broken));
        }
        if let Some((late, _)) = state.late.filter(|(_, is_late)| is_late(&call.op)) {
            return Box::pin(async move {
                sleep(late).await;
                answer.map_err(Failure::Refused)
            });
        }
        ready(answer.map_err(Failure::Refused))
    }

    fn open(&self, call: OpenSession, deadline: Duration) -> Answer<SessionOpened, OpenRefusal> {
        let (silent, gone) = {
            let state = self.state();
            let buried = call.replaces.is_some_and(|before| state.buried.contains(&before));
            (state.owner_silent, state.ended || buried)
        };
        if silent {
            return silence(deadline);
        }
        if gone {
            return ready(Err(Failure::Refused(OpenRefusal::Deleting)));
        }
        if let Some(before) = call.replaces {
            self.expire(before);
        }
        ready(Ok(self.open_session(call.read_only)))
    }

    fn renew(&self, call: RenewSession, deadline: Duration) -> Answer<SessionRenewed, SessionGone> {
        let state = self.state();
        if state.owner_silent {
            return silence(deadline);
        }
        if state.ended || state.over.contains(&call.session) {
            return ready(Err(Failure::Refused(SessionGone::Ended)));
        }
        let (epoch, reclaim) = state.locks.standing(call.session);
        ready(Ok(SessionRenewed { lease_ms: LEASE.as_millis() as u32, epoch, reclaim }))
    }

    fn close(&self, call: CloseSession, _: Duration) -> Answer<SessionClosed, SessionGone> {
        let mut state = self.state();
        state.closed = true;
        state.owner.end(call.session);
        state.locks.end(call.session);
        ready(Ok(SessionClosed {}))
    }

    fn lock(&self, call: Lock, deadline: Duration) -> Answer<Locked, LockRefusal> {
        let state = self.state();
        if state.owner_silent { silence(deadline) } else { Arc::clone(&state.locks).lock(call) }
    }

    fn reclaim(&self, call: Reclaim, deadline: Duration) -> Answer<Reclaimed, LockRefusal> {
        let state = self.state();
        if state.owner_silent { silence(deadline) } else { ready(state.locks.reclaim(&call)) }
    }

    fn attach(&self, call: Attach, deadline: Duration) -> Answer<Place, SessionGone> {
        let mut state = self.state();
        if state.owner_silent {
            return silence(deadline);
        }
        let place = state.owner.leases.attach(call.session, &call.holds, Instant::now().into_std());
        ready(place.map_err(|_| Failure::Refused(SessionGone::Ended)))
    }

    fn recalls(&self, call: WatchRecalls, deadline: Duration) -> Answer<Recalls, SessionGone> {
        let state = self.state();
        if state.owner_silent {
            return silence(deadline);
        }
        let recalls = state.owner.leases.recalls(call.session, call.term, call.after);
        let empty = recalls.as_ref().is_ok_and(|recalls| !recalls.attach && recalls.recalls.is_empty());
        let late = if empty { RECALLS_POLLED } else { Duration::ZERO };
        Box::pin(async move {
            sleep(late).await;
            recalls.map_err(|_| Failure::Refused(SessionGone::Ended))
        })
    }

    fn acknowledge(&self, call: AckRecalls, deadline: Duration) -> Answer<Acked, SessionGone> {
        let mut state = self.state();
        if state.owner_silent {
            return silence(deadline);
        }
        state.owner.leases.acknowledge(call.session, call.term, &call.acks);
        ready(Ok(Acked {}))
    }

    fn present(
        &self,
        drive: DriveId,
        call: PresentGrant,
        deadline: Duration,
    ) -> Answer<GrantTaken, GrantRefusal> {
        let mut state = self.state();
        let drive = state.drives.get_mut(&drive).expect("a drive of the map");
        match drive.fault {
            Fault::Dead => return ready(Err(Failure::Unreachable)),
            Fault::Hanging => return silence(deadline),
            _ => {}
        }
        drive.presented += 1;
        let session = SessionId::from_bytes(call.grant.body[..].try_into().expect("a session"));
        if drive.closed.contains(&session) {
            return ready(Err(Failure::Refused(GrantRefusal::Closed)));
        }
        drive.granted.insert(session);
        ready(Ok(GrantTaken {}))
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutShard,
        bytes: Bytes,
        deadline: Duration,
    ) -> Answer<ShardStored, PutRefusal> {
        let mut state = self.state();
        state.trace.push((drive, call.header.key));
        let digest = Digest(*blake3::hash(&bytes).as_bytes());
        let sealed = *state.sealed.entry(call.header.key).or_insert(digest);
        assert_eq!(sealed, digest, "an id is sealed once");
        let drive = state.drives.get_mut(&drive).expect("a drive of the map");
        match drive.fault {
            Fault::Dead => return ready(Err(Failure::Unreachable)),
            Fault::Hanging => return silence(deadline),
            Fault::Late(late) => {
                let stored = drive.put(call.header, bytes);
                let stored = stored.map(|already| ShardStored { already }).map_err(Failure::Refused);
                return Box::pin(async move {
                    sleep(late).await;
                    stored
                });
            }
            Fault::BreaksOff(left @ 1..) => {
                drive.fault = Fault::BreaksOff(left - 1);
                let _ = drive.put(call.header, bytes);
                return ready(Err(Failure::Unreachable));
            }
            _ => {}
        }
        let stored = drive.put(call.header, bytes);
        ready(stored.map(|already| ShardStored { already }).map_err(Failure::Refused))
    }

    fn get(&self, drive: DriveId, call: GetShard, deadline: Duration) -> Answer<Bytes, GetRefusal> {
        let mut state = self.state();
        let drive = state.drives.get_mut(&drive).expect("a drive of the map");
        let fault = drive.fault;
        match fault {
            Fault::Dead => return ready(Err(Failure::Unreachable)),
            Fault::Hanging => return silence(deadline),
            Fault::Busy(left @ 1..) => {
                drive.fault = Fault::Busy(left - 1);
                return ready(Err(Failure::Busy));
            }
            _ => {}
        }
        let read = drive.get(&call).map_err(Failure::Refused);
        let late = if let Fault::Slow(late) = fault { late } else { Duration::ZERO };
        Box::pin(async move {
            sleep(late).await;
            read
        })
    }

    fn heartbeat(&self, report: FrontendReport, _: Duration) -> Answer<HeartbeatHeard, HeartbeatRefusal> {
        let mut state = self.state();
        state.reports.push(report);
        let zero = ByteCount::default();
        ready(Ok(HeartbeatHeard {
            map: state.map.version,
            capacity: zero,
            used: zero,
            free: Some(zero),
            store: StoreVersion::default(),
        }))
    }

    fn map(&self, known: Option<MapVersion>, _: Duration) -> Answer<MapReply, NoRefusal> {
        let map = self.map();
        let newer = known != Some(map.version) && !(self.state().map_silent && known.is_some());
        ready(Ok(MapReply { map: newer.then_some(map) }))
    }

    fn install(&self, _: &ClusterMap) {}

    fn now(&self) -> Timestamp {
        let mut state = self.state();
        state.clock += 1;
        Timestamp { seconds: 1_000_000 + state.clock, nanos: 0 }
    }

    fn shut_down(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}
