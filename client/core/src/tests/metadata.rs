//! The real metadata operations over rows in memory.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;
use weft_leases::{Leases, NotAttached, Verdict, WaitId};
use weft_meta::slot::{self, Attempt};
use weft_meta::{
    Context, GroupEpochs, KeyMaker, NameHasher, NewKey, Progress, RowKey, SessionRow, SpaceView, Transaction,
    continue_work, execute, format, inherited, is_mutation, needs, session, touched,
};
use weft_types::{
    ByteCount, DataKeyId, Epoch, FilesystemId, GroupId, Inode, NameHash, NodeId, SessionId, SlotId, SlotSeq,
    Timestamp,
};
use weft_wire::KeyBytes;
use weft_wire::coherence::{Place, Stamp};
use weft_wire::compute::{Meta, MetaDone, SessionHolder};
use weft_wire::meta::{MetaError, MetaOp, MetaReply};

pub(super) const FILESYSTEM: FilesystemId = FilesystemId::from_bytes([2; 16]);

#[derive(Debug, Clone, Default)]
struct Rows(BTreeMap<Vec<u8>, Vec<u8>>);

impl Transaction for Rows {
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.0.get(&key.encode()).cloned())
    }

    fn put(&mut self, key: RowKey, value: Vec<u8>) {
        self.0.insert(key.encode(), value);
    }

    fn delete(&mut self, key: RowKey) {
        self.0.remove(&key.encode());
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<(RowKey, Vec<u8>)>, MetaError> {
        let rows = self.0.range(from.to_vec()..until.to_vec()).take(limit);
        let row = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            Ok((RowKey::decode(key).map_err(|_| MetaError::Damaged)?, value.clone()))
        };
        rows.map(row).collect()
    }
}

struct Hash;

impl NameHasher for Hash {
    fn hash(&self, parent: Inode, name: &[u8]) -> NameHash {
        let mut hash = blake3::Hasher::new();
        hash.update(&parent.get().to_be_bytes()).update(name);
        let mac = hash.finalize().as_bytes()[..8].try_into().expect("8 bytes");
        NameHash::from_mac(mac)
    }
}

struct Keys;

fn key_of(id: DataKeyId) -> KeyBytes {
    KeyBytes::new([id.get() as u8 ^ 0x5a; 32])
}

impl KeyMaker for Keys {
    fn fresh(&self, id: DataKeyId) -> Result<NewKey, MetaError> {
        Ok(NewKey { key: key_of(id), wrapped: vec![1] })
    }

    fn unwrap(&self, id: DataKeyId, _: &[u8]) -> Result<KeyBytes, MetaError> {
        Ok(key_of(id))
    }
}

struct Floors<'a>(&'a HashMap<GroupId, Epoch>);

impl GroupEpochs for Floors<'_> {
    fn floor(&self, group: GroupId) -> Option<Epoch> {
        Some(self.0.get(&group).copied().unwrap_or(Epoch::new(1)))
    }
}

/// An owner of a filesystem's metadata.
#[derive(Debug)]
pub(super) struct Owner {
    rows: Rows,
    now: i64,
    pub(super) free: u64,
    pub(super) floors: HashMap<GroupId, Epoch>,
    /// Every call that was carried out.
    pub(super) calls: Vec<Meta>,
    pub(super) leases: Leases,
    /// Calls that wait for others to forget something.
    waiting: HashMap<(SessionId, SlotId, SlotSeq), WaitId>,
}

impl Owner {
    pub(super) fn new() -> Self {
        let mut owner = Self {
            rows: Rows::default(),
            now: 1000,
            free: 1 << 40,
            floors: HashMap::new(),
            calls: Vec::new(),
            leases: Leases::new(Epoch::new(1), [], Instant::now().into_std()),
            waiting: HashMap::new(),
        };
        let mut rows = Rows::default();
        let session = SessionId::from_bytes([0; 16]);
        owner.with_context(session, &[], |cx| format(&mut rows, cx)).expect("formats");
        owner.rows = rows;
        owner
    }

    pub(super) fn open(&mut self, session: SessionId, read_only: bool) -> Place {
        let holder =
            SessionHolder { host: "h".to_owned(), boot: "b".to_owned(), pid: 9, mount: "/m".to_owned() };
        let node = NodeId::from_bytes([3; 16]);
        let row = SessionRow { node, holder, read_only, opened: Timestamp::default() };
        session::open(&mut self.rows, session, &row);
        self.leases.open(session, Instant::now().into_std())
    }

    pub(super) fn end(&mut self, session: SessionId) {
        self.leases.end(session);
        session::end(&mut self.rows, session, Timestamp { seconds: self.now, nanos: 0 }).expect("ends");
        self.work();
    }

    fn with_context<T>(
        &self,
        session: SessionId,
        users: &[SessionId],
        act: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let floors = Floors(&self.floors);
        let mut cx = Context {
            now: Timestamp { seconds: self.now, nanos: 0 },
            caller: Default::default(),
            session,
            users,
            filesystem: FILESYSTEM,
            names: &Hash,
            keys: &Keys,
            groups: &floors,
            space: SpaceView { capacity: ByteCount::new(self.free * 2), free: ByteCount::new(self.free) },
        };
        act(&mut cx)
    }

    fn work(&mut self) {
        let now = Timestamp { seconds: self.now, nanos: 0 };
        while continue_work(&mut self.rows, now, 1000).expect("works") != Progress::Done {}
    }

    /// One operation as a runner carries it out: exactly once, when others have forgotten what stands in its way; `None`: not
    /// yet.
    pub(super) fn answer(&mut self, call: &Meta) -> Option<Result<MetaDone, MetaError>> {
        self.now += 1;
        let mutation = is_mutation(&call.op);
        if mutation {
            match slot::replay(&self.rows, &Keys, call.session, call.slot, call.seq) {
                Ok(Attempt::Fresh) => {}
                Ok(Attempt::Replay(answer)) => return Some(self.done(call, Stamp::default(), answer)),
                Err(refusal) => return Some(Err(refusal)),
            }
        }
        let rows = self.rows.clone();
        let needs = match self.with_context(call.session, &[], |cx| needs(&rows, cx, &call.op)) {
            Ok(needs) => needs,
            Err(refusal) => return Some(Err(refusal)),
        };
        let (turn, now) = ((call.session, call.slot, call.seq), Instant::now().into_std());
        let waited = self.waiting.get(&turn).copied();
        match self.leases.admit(call.session, call.term, &needs, waited, now) {
            Err(NotAttached) => Some(Err(MetaError::NotAttached)),
            Ok(Verdict::Wait(id)) => {
                self.waiting.insert(turn, id);
                None
            }
            Ok(Verdict::Go { stamp, users }) => {
                if let Some(id) = self.waiting.remove(&turn) {
                    self.leases.leave(id);
                }
                let answer = self.run(call, &users);
                Some(self.done(call, stamp, answer))
            }
        }
    }

    fn done(
        &mut self,
        call: &Meta,
        stamp: Stamp,
        answer: Result<MetaReply, MetaError>,
    ) -> Result<MetaDone, MetaError> {
        let mut reply = match (&call.op, answer) {
            (MetaOp::Lookup { name: Some(_), .. }, Err(MetaError::NotFound)) => MetaReply::Absent,
            (_, answer) => answer?,
        };
        self.leases.count_answer(call.session, &call.op, stamp, &mut reply, Instant::now().into_std());
        let rows = self.rows.clone();
        let touched = self.with_context(call.session, &[], |cx| touched(&rows, cx, &call.op))?;
        let inherited = inherited(&rows, &call.op, &reply)?;
        Ok(MetaDone { reply, touched, inherited, stamp })
    }

    /// Carries an operation out.
    pub(super) fn run(&mut self, call: &Meta, users: &[SessionId]) -> Result<MetaReply, MetaError> {
        self.calls.push(call.clone());
        let mut rows = self.rows.clone();
        let answer = self.with_context(call.session, users, |cx| {
            cx.caller = call.caller;
            execute(&mut rows, cx, &call.op)
        });
        if answer.is_ok() {
            self.rows = rows;
        }
        if is_mutation(&call.op) {
            slot::record(&mut self.rows, call.session, call.slot, call.seq, &answer);
        }
        self.work();
        answer
    }
}
