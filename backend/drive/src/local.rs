//! A whole drive on the caller's thread: what a simulation of a cluster is made of.
//!
//! The same store and the same custody as behind a [`Drive`](crate::Drive), one call after the other, each durable when
//! it returns. No thread, no clock, no chance: the same calls over the same bytes give the same bytes.

use bytes::Bytes;
use weft_device::Device;
use weft_pki::AuthorityVerifier;
use weft_types::{NodeId, Role, StoreVersion};
use weft_wire::drive::{
    DELETE_MAX, DeleteRefusal, DeleteShards, PutRefusal, ShardHeader, ShardStored, ShardsDeleted,
};
use weft_wire::grant::{GrantRefusal, SignedGrant};
use weft_wire::log::{
    GetObject, GetObjectRefusal, ListObjects, LogEntry, LogRead, ObjectKey, ReadLog, ReadLogRefusal,
};
use weft_wire::store::{OpenStore, StoreHeld, StoreRefusal};

use crate::custody::{
    Caller, Custody, ItemKey, Items, LoadError, Loaded, Opening, Operation, ReadItemError, Refusal, Reply,
    WriteItems, run, shown_session,
};
use crate::reader::Reader;
use crate::service::{delete_refusal, put_refusal};
use crate::store::{OpenError, Store, Stored};
use crate::superblock::DriveIdentity;

/// Why a device does not open.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is kept besides shards.
    #[error(transparent)]
    Custody(#[from] LoadError),
}

/// A drive without a thread.
#[derive(Debug)]
pub struct LocalDrive<D> {
    store: Store<D>,
    custody: Custody,
    authority: AuthorityVerifier,
}

impl<D: Device> LocalDrive<D> {
    /// Opens a formatted device, as after every start of a process.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn open(
        device: D,
        identity: DriveIdentity,
        authority: AuthorityVerifier,
    ) -> Result<Self, LocalError> {
        let mut store = Store::open(device, identity)?;
        let Loaded { custody, repairs } = Custody::load(identity, &store)?;
        if !repairs.is_empty() {
            // Without them all is as well, until the next damage.
            let _ = store.write(&repairs);
        }
        Ok(Self { store, custody, authority })
    }

    /// The store, to be cleaned and looked at.
    pub fn store_mut(&mut self) -> &mut Store<D> {
        &mut self.store
    }

    /// A reader of the shards.
    pub fn reader(&self) -> Reader<D> {
        self.store.reader()
    }

    /// Carries out a call that writes. Durable on return.
    ///
    /// # Errors
    /// The call's refusals.
    pub fn run<O: Operation>(
        &mut self,
        caller: NodeId,
        call: O::Call,
        bulk: Bytes,
    ) -> Result<Reply<O>, Refusal<O>> {
        let by = Caller { node: caller, authority: &self.authority, drive: self.custody.identity() };
        let operation = O::prepare(call, bulk, &by)?;
        run(&mut self.custody, &mut self.store, &operation, caller)
    }

    /// Takes a session's grant.
    ///
    /// # Errors
    /// [`GrantRefusal`].
    pub fn present(&mut self, caller: NodeId, grant: &SignedGrant) -> Result<(), GrantRefusal> {
        if self.custody.remembers(grant, caller) {
            return Ok(());
        }
        let shown = shown_session(grant, &self.authority, self.custody.identity(), caller)?;
        self.custody.show(shown)
    }

    /// Puts a shard. Durable on return.
    ///
    /// # Errors
    /// [`PutRefusal`].
    pub fn put_shard(
        &mut self,
        role: Role,
        caller: NodeId,
        header: &ShardHeader,
        bytes: Bytes,
    ) -> Result<ShardStored, PutRefusal> {
        self.custody.begin_put(role, caller, header)?;
        let stored = self.store.put(header, bytes);
        let flushed = self.store.flush();
        self.custody.end_put(role, header.key.extent.session);
        let stored = stored.map_err(put_refusal)?;
        flushed.map_err(|failed| put_refusal(failed.into()))?;
        Ok(ShardStored { already: stored == Stored::AlreadyThere })
    }

    /// Deletes shards. Durable on return.
    ///
    /// # Errors
    /// [`DeleteRefusal`].
    pub fn delete_shards(&mut self, call: &DeleteShards) -> Result<ShardsDeleted, DeleteRefusal> {
        if call.keys.len() > DELETE_MAX {
            return Err(DeleteRefusal::TooMany);
        }
        let mut deleted = 0;
        for key in &call.keys {
            deleted += u32::from(self.store.delete(*key).map_err(delete_refusal)?);
        }
        self.store.flush().map_err(|failed| delete_refusal(failed.into()))?;
        Ok(ShardsDeleted { deleted })
    }

    /// Reads records of a log.
    ///
    /// # Errors
    /// [`ReadLogRefusal`].
    pub fn read_log(&mut self, call: ReadLog) -> Result<(LogRead, Bytes), ReadLogRefusal> {
        let (found, end) = self.custody.read_log(call);
        let (mut entries, mut bulk) = (Vec::with_capacity(found.len()), Vec::new());
        for (entry, key) in found {
            match self.checked(&key) {
                Ok(bytes) => {
                    entries.push(entry);
                    bulk.extend_from_slice(&bytes);
                }
                Err(ReadItemError::Damaged) => entries.push(LogEntry { len: 0, ..entry }),
                Err(ReadItemError::Absent) => {}
                Err(ReadItemError::Device(_)) => return Err(ReadLogRefusal::Device),
            }
        }
        Ok((LogRead { entries, end }, bulk.into()))
    }

    /// Reads a part of a checkpoint.
    ///
    /// # Errors
    /// [`GetObjectRefusal`].
    pub fn get_object(&mut self, call: GetObject) -> Result<Bytes, GetObjectRefusal> {
        let key = self.custody.object(call).ok_or(GetObjectRefusal::Absent)?;
        self.checked(&key).map_err(|error| match error {
            ReadItemError::Absent => GetObjectRefusal::Absent,
            ReadItemError::Damaged => GetObjectRefusal::Damaged,
            ReadItemError::Device(_) => GetObjectRefusal::Device,
        })
    }

    /// A page of the parts of checkpoints.
    pub fn list_objects(&self, call: ListObjects) -> Vec<ObjectKey> {
        self.custody.list_objects(call)
    }

    /// Promises a term, when one is asked for, and gives the copy of the cluster store.
    ///
    /// # Errors
    /// [`StoreRefusal`].
    pub fn open_store(
        &mut self,
        caller: NodeId,
        call: OpenStore,
    ) -> Result<(StoreHeld, Bytes), StoreRefusal> {
        self.run::<Opening>(caller, call, Bytes::new())?;
        Ok(self.custody.store_held(Custody::store_items().map(|key| self.store.read(&key).ok())))
    }

    /// Remembers a version of the cluster store that management told of. Durable on return, unless the device fails.
    pub fn hear_store(&mut self, version: StoreVersion) {
        let decision = self.custody.hear_store(version);
        let written = decision.steps().iter().all(|step| self.store.write(step).is_ok());
        if written {
            self.custody.apply(decision);
        } else {
            self.custody.abandon(decision);
        }
    }

    fn checked(&mut self, key: &ItemKey) -> Result<Bytes, ReadItemError> {
        let value = match self.store.read(key) {
            Ok(bytes) if !Custody::is_whole(key, &bytes) => Err(ReadItemError::Damaged),
            other => other,
        };
        if matches!(value, Err(ReadItemError::Damaged)) {
            self.custody.mark_damaged(key);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::{Closing, Placing, Recording, Sealing};
    use crate::store::tests::{IDENTITY, device, shard};
    use weft_pki::ClusterAuthority;
    use weft_types::{Epoch, MetadataShard, Position, Timestamp};
    use weft_wire::grant::{CloseSessions, GRANT_PURPOSE, Grant, LogGrant, SessionGrant};
    use weft_wire::log::{LogKey, PutLog, PutObject, SealLog};

    const NODE: NodeId = NodeId::from_bytes([4; 16]);

    fn sign(authority: &ClusterAuthority, grant: &Grant) -> SignedGrant {
        let body = minicbor::to_vec(grant).expect("encodes");
        let signature = authority.sign(GRANT_PURPOSE, &body);
        SignedGrant { body: body.into(), signature: signature.into() }
    }

    #[test]
    fn a_drive_without_a_thread_does_as_one_that_serves() {
        let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let authority = ClusterAuthority::create(IDENTITY.cluster, now).expect("created");
        let device = device(16);
        let open = || LocalDrive::open(device.clone(), IDENTITY, authority.verifier()).expect("opens");
        let mut drive = open();
        let (header, bytes) = shard(1, 20_000, 1);
        let session = header.key.extent.session;
        let refused = drive.put_shard(Role::Frontend, NODE, &header, bytes.clone());
        assert_eq!(refused, Err(PutRefusal::NotGranted));
        let filesystem = header.filesystem;
        let grant = SessionGrant { cluster: IDENTITY.cluster, filesystem, session, node: NODE };
        drive.present(NODE, &sign(&authority, &Grant::Session(grant))).expect("taken");
        let stored = drive.put_shard(Role::Frontend, NODE, &header, bytes.clone()).expect("stored");
        assert!(!stored.already);
        let log = LogKey { filesystem, shard: MetadataShard::new(0) };
        let epoch = Epoch::new(3);
        let grant = LogGrant {
            cluster: IDENTITY.cluster,
            filesystem,
            shard: log.shard,
            epoch,
            owner: NODE,
            drive: IDENTITY.drive,
            incarnation: IDENTITY.incarnation,
        };
        let grant = sign(&authority, &Grant::Log(grant));
        drive.run::<Sealing>(NODE, SealLog { grant }, Bytes::new()).expect("sealed");
        let record = PutLog { log, epoch, position: Position { epoch, seq: 1 } };
        drive.run::<Recording>(NODE, record, Bytes::from_static(b"one")).expect("put");
        let key = ObjectKey { log, epoch, number: 1, part: 0 };
        drive.run::<Placing>(NODE, PutObject { key }, Bytes::from_static(b"part")).expect("put");
        drive.run::<Closing>(NODE, CloseSessions { sessions: vec![session] }, Bytes::new()).expect("closed");
        drive.hear_store(StoreVersion::new(5));

        let mut drive = open();
        let refused = drive.put_shard(Role::Frontend, NODE, &header, bytes.clone());
        assert_eq!(refused, Err(PutRefusal::SessionClosed));
        assert!(drive.put_shard(Role::Compute, NODE, &header, bytes).expect("there").already);
        let (read, bulk) = drive.read_log(ReadLog { log, after: 0, bytes: 100 }).expect("read");
        assert_eq!((read.entries.len(), bulk), (1, Bytes::from_static(b"one")));
        assert_eq!(drive.list_objects(ListObjects { log, after: None }), [key]);
        assert_eq!(drive.get_object(GetObject { key }), Ok(Bytes::from_static(b"part")));
        let (held, _) = drive.open_store(NODE, OpenStore { term: Some(Epoch::new(1)) }).expect("promised");
        assert_eq!((held.seen, held.epochs), (StoreVersion::new(5), vec![(log, epoch)]));
        let keys = vec![header.key];
        assert_eq!(drive.delete_shards(&DeleteShards { keys }), Ok(ShardsDeleted { deleted: 1 }));
        assert!(drive.reader().list(None, 10).is_empty());
    }
}
