//! A compute process: takes the shard over, and executes what frontends ask.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use weft_compute::{
    Attempt, ComputeSettings, Keys, Lease, Opened, Opening, Owner, SHARD, SessionOpening, Sources, Tx, View,
};
use weft_engine::{LogSettings, ReplicatedLog, ShardLog, recover_index};
use weft_keys::{FilesystemKey, MetadataKey, NameKey};
use weft_meta::{RowKey, SpaceView, Transaction, reclaim, session};
use weft_types::{ByteCount, KeyVersion, MapVersion, SessionId, Timestamp};
use weft_wire::coherence::Attach;
use weft_wire::compute::{Meta, OpenSession, SessionHolder};
use weft_wire::meta::{MetaError, MetaReply};
use weft_wire::ownership::Held;

use crate::cluster::{Calls, Cluster, FILESYSTEM, LOG, NODE};
use crate::timeline::{Draw, Event};

/// Bytes of records that make a checkpoint due.
const CHECKPOINT_BYTES: u64 = 8 << 10;
/// No session ends here unless it is to.
const LEASE: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Numbers of processes, so that no two draw the same.
static PROCESSES: AtomicU64 = AtomicU64::new(1);

pub(crate) type Answer = Result<MetaReply, MetaError>;

/// All rows of the shard, in clear.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Something that changes rows, all of it or nothing.
#[expect(clippy::large_enum_variant, reason = "nearly all are mutations")]
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The rows of an empty filesystem.
    Format,
    /// A mutation.
    Meta(Meta),
    /// Opens a session that may write.
    Open(SessionId),
    /// Ends a session in good order.
    Close(SessionId),
    /// Ends every session, none of which was renewed.
    Expire,
    /// A piece of the work that was left.
    Work,
    /// Every drive has closed a session that ended.
    ClosedEverywhere(SessionId),
    /// Dead extents were deleted from the drives.
    ForgetDead,
}

/// An action that was executed.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Which, from 0 on.
    pub(crate) number: usize,
    /// Of a mutation.
    pub(crate) answer: Option<Answer>,
    /// What there was afterwards.
    pub(crate) rows: Rows,
}

impl Executed {
    /// What is the same whenever it is executed: keys are drawn anew.
    pub(crate) fn without_keys(&self) -> Rows {
        let drawn = |key: &[u8]| matches!(RowKey::decode(key), Ok(RowKey::DataKey(_) | RowKey::Slot { .. }));
        self.rows.iter().filter(|(key, _)| !drawn(key)).map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    /// What of its answer is the same whenever it is executed.
    pub(crate) fn outline(&self) -> Option<Answer> {
        match self.answer.clone() {
            Some(Ok(MetaReply::Opened(opened))) => Some(Ok(MetaReply::Attributes(opened.attributes))),
            answer => answer,
        }
    }
}

/// A process that owns the shard.
pub(crate) struct Process {
    cluster: Arc<Cluster>,
    owner: Owner,
    /// Seconds, as the owner's clock has them.
    clock: Arc<AtomicU64>,
}

impl Process {
    /// Takes the shard over, with the index of a folder.
    pub(crate) async fn take_over(cluster: &Arc<Cluster>, index: &Path) -> Self {
        let (row, grants) = cluster.own();
        let calls = Calls(Arc::clone(cluster));
        let settings = LogSettings { checkpoint_bytes: CHECKPOINT_BYTES, ..LogSettings::default() };
        let taken = ReplicatedLog::take_over((calls.clone(), calls), LOG, row, grants, settings).await;
        let log = taken.unwrap_or_else(|error| panic!("the log is not taken over: {error:?}"));
        let recovered = recover_index(&log, index).await;
        let index = recovered.unwrap_or_else(|error| panic!("the index is not recovered: {error:?}")).index;
        let clock = Arc::new(AtomicU64::new(0));
        let sources = sources(&clock);
        let key = FilesystemKey::from_bytes(FILESYSTEM, KeyVersion::new(1), &[7; 32]);
        let (metadata, name) = (MetadataKey::from_bytes(&[8; 32]), NameKey::from_bytes(&[9; 32]));
        let keys = Some(Keys::new(key, metadata, &name, sources.clone()));
        let held = Held { filesystem: FILESYSTEM, shard: SHARD, epoch: log.epoch() };
        let now = Instant::now();
        let lease = Arc::new(Lease::new(held, now, DAY, now, Duration::ZERO));
        let settings = ComputeSettings { lease: LEASE, ..ComputeSettings::default() };
        let opening = Opening { lease, keys, sources, settings, deleting: false };
        let Opened { owner, worker } = opening.start(log, index).expect("starts");
        tokio::spawn(worker.run());
        Self { cluster: Arc::clone(cluster), owner, clock }
    }

    fn view(&self) -> View {
        let space = SpaceView { capacity: ByteCount::new(1 << 30), free: ByteCount::new(1 << 29) };
        View { map: Some(self.cluster.map()), space: Some(space) }
    }

    /// Executes an action; answers the batch that it is durable with.
    pub(crate) fn perform(&self, number: usize, action: &Action) -> (Arc<Executed>, u64) {
        self.clock.store(number as u64, Ordering::Relaxed);
        let answer = match action {
            Action::Meta(call) => Some(self.execute(call)),
            Action::Format => None,
            Action::Open(id) => {
                let opened = self.owner.open_session(NODE, &asked(), *id, Instant::now());
                assert!(matches!(opened, Ok(SessionOpening::Opened { .. })), "{number}: {opened:?}");
                None
            }
            Action::Close(id) => {
                self.owner.close_session(NODE, *id, Instant::now()).expect("closes");
                None
            }
            Action::Expire => {
                self.owner.expire(Instant::now() + DAY).expect("expires");
                None
            }
            Action::Work => {
                self.owner.work().expect("works");
                None
            }
            Action::ClosedEverywhere(id) => {
                let closed = |tx: &mut Tx<'_>| session::closed_everywhere(tx, *id, self.owner.now());
                self.owner.change(closed).expect("changes");
                None
            }
            Action::ForgetDead => {
                let before = Timestamp { seconds: i64::MAX, nanos: 0 };
                let forget = |tx: &mut Tx<'_>| {
                    let page = reclaim::dead_extents(tx, before, None, 100)?;
                    let dead: Vec<_> = page.extents.iter().map(|(id, _)| *id).collect();
                    reclaim::forget(tx, &dead)
                };
                self.owner.change(forget).expect("changes");
                None
            }
        };
        let durable_with = self.owner.act_on(MapVersion::new(0));
        let executed = Arc::new(Executed { number, answer, rows: self.rows() });
        self.cluster.timeline.note(Event::Executed(Arc::clone(&executed)));
        (executed, durable_with)
    }

    /// Executes an operation, a retry perhaps.
    pub(crate) fn execute(&self, call: &Meta) -> Answer {
        match self.owner.execute(NODE, &self.placed(call), &self.view(), None) {
            Ok(Attempt::Answer { answer, .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A call of a session that has just attached.
    fn placed(&self, call: &Meta) -> Meta {
        let attach = Attach { filesystem: FILESYSTEM, session: call.session, holds: Vec::new() };
        let place = self.owner.attach(NODE, &attach, Instant::now()).ok().and_then(Result::ok);
        Meta { term: place.unwrap_or_default().term, ..call.clone() }
    }

    /// Waits until what is in a batch may be answered, and notes that it is.
    pub(crate) async fn answer(&self, number: usize, durable_with: u64) {
        self.owner.answerable(durable_with).await.expect("durable");
        self.cluster.timeline.note(Event::Answered(number));
    }

    /// All that there is.
    pub(crate) fn rows(&self) -> Rows {
        let scan = |tx: &Tx<'_>| tx.scan(&[0], &[0xff], 100_000);
        let rows = self.owner.read(scan).expect("reads");
        rows.into_iter().map(|(key, row)| (key.encode(), row)).collect()
    }

    /// Has all that was begun committed, and lets go of the index.
    pub(crate) async fn close(self) {
        self.owner.close().await;
    }
}

/// Chance that never comes again in this test, and a clock that is set.
fn sources(clock: &Arc<AtomicU64>) -> Sources {
    let process = PROCESSES.fetch_add(1, Ordering::Relaxed);
    let (drawn, clock) = (AtomicU64::new(0), Arc::clone(clock));
    let random = move |bytes: &mut [u8]| {
        Draw::new(&[process, drawn.fetch_add(1, Ordering::Relaxed)]).fill(bytes);
    };
    Sources::new(random, move || {
        let seconds = i64::try_from(clock.load(Ordering::Relaxed)).expect("few");
        Timestamp { seconds: 1_800_000_000 + seconds, nanos: 0 }
    })
}

fn asked() -> OpenSession {
    let (host, boot, mount) = ("host".to_owned(), "boot".to_owned(), "/mnt".to_owned());
    let holder = SessionHolder { host, boot, pid: 7, mount };
    OpenSession { filesystem: "default".to_owned(), read_only: false, holder, replaces: None }
}
