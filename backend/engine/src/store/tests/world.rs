//! Drives in memory that lose, delay and repeat what they are told, and contents to keep on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use weft_keys::{ClusterKey, KmsWrapped, Nonce};
use weft_types::{ClusterId, DriveId, Epoch, FilesystemId, Incarnation, MetadataShard, StoreVersion};
use weft_wire::log::LogKey;
use weft_wire::ownership::DriveHome;
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreRefusal, StoreTaken};
use zeroize::Zeroizing;

use crate::store::{
    StoreCallError, StoreContents, StoreCopy, StoreDrives, StoreHeader, StoreSettings, Voters, first_version,
};

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
pub(super) const LOG: LogKey =
    LogKey { filesystem: FilesystemId::from_bytes([5; 16]), shard: MetadataShard::new(0) };

pub(super) fn key() -> ClusterKey {
    ClusterKey::from_bytes(&[2; 32])
}

pub(super) fn id(n: u8) -> DriveId {
    DriveId::from_bytes([n; 16])
}

pub(super) fn home(n: u8) -> DriveHome {
    DriveHome { drive: id(n), incarnation: Incarnation::new(1) }
}

pub(super) fn homes(list: &[u8]) -> Vec<DriveHome> {
    list.iter().map(|n| home(*n)).collect()
}

/// Changes that were made, in their order.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(super) struct Document {
    #[n(0)]
    pub(super) made: Vec<u32>,
    #[n(1)]
    pub(super) voters: Voters,
    #[n(2)]
    pub(super) ownership: Epoch,
}

impl StoreContents for Document {
    type Error = minicbor::decode::Error;

    fn from_bytes(bytes: &[u8]) -> Result<Self, Self::Error> {
        minicbor::decode(bytes)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(minicbor::to_vec(self).expect("encodes"))
    }

    fn voters(&self) -> &Voters {
        &self.voters
    }

    fn ownership(&self, log: &LogKey) -> Option<Epoch> {
        (*log == LOG).then_some(self.ownership)
    }
}

/// One drive's part.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    pub(super) promised: Epoch,
    pub(super) copy: Option<(Epoch, StoreVersion, Bytes)>,
    pub(super) seen: StoreVersion,
    pub(super) ownership: Epoch,
    pub(super) incarnation: Incarnation,
    pub(super) up: bool,
    pub(super) damaged: bool,
}

impl Drive {
    fn open(&mut self, call: OpenStore) -> Result<(StoreHeld, Bytes), StoreRefusal> {
        if self.damaged {
            return Err(StoreRefusal::Damaged);
        }
        if let Some(term) = call.term {
            if term <= self.promised {
                return Err(StoreRefusal::Fenced { by: self.promised });
            }
            self.promised = term;
        }
        let held = StoreHeld {
            promised: self.promised,
            copy: self.copy.as_ref().map(|(term, version, _)| (*term, *version)),
            seen: self.seen,
            epochs: vec![(LOG, self.ownership)],
            incarnation: self.incarnation,
        };
        Ok((held, self.copy.as_ref().map(|(_, _, bytes)| bytes.clone()).unwrap_or_default()))
    }

    fn put(&mut self, call: PutStore, copy: Bytes) -> Result<StoreTaken, StoreRefusal> {
        if call.term < self.promised {
            return Err(StoreRefusal::Fenced { by: self.promised });
        }
        let taken = StoreTaken { incarnation: self.incarnation };
        match &self.copy {
            Some((term, version, bytes)) if *version == call.version => {
                let same = *term == call.term && *bytes == copy;
                return if same { Ok(taken) } else { Err(StoreRefusal::Behind { version: *version }) };
            }
            _ if self.seen > call.version => return Err(StoreRefusal::Behind { version: self.seen }),
            _ => {}
        }
        self.promised = call.term;
        self.seen = call.version;
        self.copy = Some((call.term, call.version, copy));
        Ok(taken)
    }
}

struct Inner {
    drives: BTreeMap<DriveId, Drive>,
    random: u64,
    /// Of a thousand calls so many go wrong in some way.
    faults: u64,
}

/// All drives.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Inner>>);

impl World {
    /// `count` drives, of which `voters` vote and hold the first version.
    pub(super) fn new(count: u8, voters: &[u8], seed: u64) -> Self {
        let document =
            Document { made: Vec::new(), voters: Voters::of(homes(voters)), ownership: Epoch::new(1) };
        let version = first_version(Epoch::new(1));
        let header = StoreHeader {
            cluster: CLUSTER,
            version,
            kms_provider: "local".to_owned(),
            kms_key: "k".to_owned(),
            cluster_key: KmsWrapped::from_bytes(vec![3; 8]),
        };
        let nonce = Nonce::from_random([0; 12]);
        let copy = StoreCopy::seal(header, &key(), &document.to_bytes(), nonce).encode();
        let drive = |n: u8| {
            let has = voters.contains(&n);
            let drive = Drive {
                promised: Epoch::new(u64::from(has)),
                copy: has.then(|| (Epoch::new(1), version, copy.clone())),
                seen: if has { version } else { StoreVersion::default() },
                ownership: Epoch::default(),
                incarnation: Incarnation::new(1),
                up: true,
                damaged: false,
            };
            (id(n), drive)
        };
        let drives = (0..count).map(drive).collect();
        Self(Arc::new(Mutex::new(Inner { drives, random: seed | 1, faults: 0 })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds this")
    }

    pub(super) fn set_faults(&self, of_a_thousand: u64) {
        self.inner().faults = of_a_thousand;
    }

    pub(super) fn random(&self, below: u64) -> u64 {
        let mut inner = self.inner();
        // xorshift64*
        inner.random ^= inner.random >> 12;
        inner.random ^= inner.random << 25;
        inner.random ^= inner.random >> 27;
        (inner.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    pub(super) fn drive<T>(&self, n: u8, with: impl FnOnce(&mut Drive) -> T) -> T {
        with(self.inner().drives.get_mut(&id(n)).expect("a drive"))
    }

    pub(super) fn up(&self, list: &[u8]) {
        for (drive, state) in &mut self.inner().drives {
            state.up = list.iter().any(|n| id(*n) == *drive);
        }
    }

    /// All drives as they are now.
    pub(super) fn drives(&self) -> BTreeMap<DriveId, Drive> {
        self.inner().drives.clone()
    }

    pub(super) fn settings(&self) -> StoreSettings<World> {
        let places = self.inner().drives.keys().copied().collect();
        let seed = self.random(1 << 40);
        let mut count = u64::from(self.random(1 << 30) == 0);
        let salt = self.random(1 << 31).to_le_bytes();
        let nonces = Box::new(move || {
            count += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&count.to_le_bytes());
            nonce[8..].copy_from_slice(&salt[..4]);
            Nonce::from_random(nonce)
        });
        StoreSettings { drives: Arc::new(self.clone()), places, cluster: CLUSTER, key: key(), nonces, seed }
    }

    /// Carries a call to a drive, its answer back, or not.
    async fn carry<T: Send + 'static>(
        self,
        drive: DriveId,
        act: impl Fn(&mut Drive) -> Result<T, StoreRefusal> + Send + 'static,
    ) -> Result<T, StoreCallError> {
        let lost = || StoreCallError::NoAnswer { reason: "lost".to_owned() };
        sleep(Duration::from_micros(200 + self.random(800))).await;
        let faults = self.inner().faults;
        let fault = if self.random(1000) < faults { self.random(4) } else { 9 };
        match fault {
            0 => return Err(lost()),
            1 => sleep(Duration::from_millis(self.random(5000))).await,
            2 => {
                // It comes a second time, late.
                let (world, again) = (self.clone(), Duration::from_millis(self.random(6000)));
                let first = world.act(drive, &act);
                tokio::spawn(async move {
                    sleep(again).await;
                    let _ = world.act(drive, &act);
                });
                return first;
            }
            _ => {}
        }
        let answer = self.act(drive, &act);
        sleep(Duration::from_micros(self.random(800))).await;
        if fault == 3 { Err(lost()) } else { answer }
    }

    fn act<T>(
        &self,
        drive: DriveId,
        act: &impl Fn(&mut Drive) -> Result<T, StoreRefusal>,
    ) -> Result<T, StoreCallError> {
        let mut inner = self.inner();
        let state = inner.drives.get_mut(&drive).expect("a drive");
        if !state.up {
            return Err(StoreCallError::NoAnswer { reason: "down".to_owned() });
        }
        act(state).map_err(StoreCallError::Refused)
    }
}

impl StoreDrives for World {
    fn open(
        &self,
        drive: DriveId,
        call: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static {
        self.clone().carry(drive, move |state| state.open(call))
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutStore,
        copy: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static {
        self.clone().carry(drive, move |state| state.put(call, copy.clone()))
    }
}
