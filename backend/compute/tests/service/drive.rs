//! A drive that keeps logs in memory, and remembers what it was asked.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_pki::Credentials;
use weft_transport::{CallContext, Failure, Router};
use weft_types::{Epoch, NodeId, Position, Role};
use weft_wire::drive::{DeleteRefusal, DeleteShards, ListShards, ShardsDeleted, ShardsListed};
use weft_wire::grant::{CloseRefusal, CloseSessions, Grant, GrantRefusal, SessionsClosed};
use weft_wire::log::{
    DeleteObjects, GetObject, GetObjectRefusal, ListObjects, LogEntry, LogHeld, LogRead, LogRefusal,
    LogStored, LogTrimmed, ObjectKey, ObjectRead, ObjectsListed, PutLog, PutObject, ReadLog, ReadLogRefusal,
    SealLog, TrimLog,
};

use crate::cluster::{Running, Stage, serve};

const COMPUTE: &[Role] = &[Role::Compute];

/// The one log on a drive.
#[derive(Debug, Default)]
pub(crate) struct HeldLog {
    epoch: Option<Epoch>,
    pub(crate) trimmed: u64,
    pub(crate) records: BTreeMap<u64, (Position, Bytes)>,
    pub(crate) objects: BTreeMap<ObjectKey, Bytes>,
}

type Answer<T, R> = Result<(T, Bytes), Failure<R>>;

impl HeldLog {
    fn granted(&self, epoch: Epoch) -> Result<(), Failure<LogRefusal>> {
        match self.epoch {
            Some(by) if by > epoch => Err(Failure::Refused(LogRefusal::Deposed { by })),
            Some(known) if known == epoch => Ok(()),
            _ => Err(Failure::Refused(LogRefusal::NotGranted)),
        }
    }

    fn seal(&mut self, call: &SealLog) -> Answer<LogHeld, LogRefusal> {
        let Ok(Grant::Log(grant)) = call.grant.grant() else {
            return Err(Failure::Refused(LogRefusal::Grant(GrantRefusal::Forged)));
        };
        if let Some(by) = self.epoch.filter(|known| *known > grant.epoch) {
            return Err(Failure::Refused(LogRefusal::Deposed { by }));
        }
        self.epoch = Some(grant.epoch);
        let first = self.records.first_key_value().map(|(seq, _)| *seq);
        let last = self.records.last_key_value().map(|(_, (position, _))| *position);
        Ok((LogHeld { trimmed: self.trimmed, first, last }, Bytes::new()))
    }

    fn put(&mut self, call: &PutLog, record: Bytes) -> Answer<LogStored, LogRefusal> {
        self.granted(call.epoch)?;
        let seq = call.position.seq;
        if seq <= self.trimmed {
            return Err(Failure::Refused(LogRefusal::Trimmed));
        }
        let new = (call.position, record);
        if self.records.get(&seq).is_some_and(|known| *known != new) {
            return Err(Failure::Refused(LogRefusal::Conflict));
        }
        self.records.insert(seq, new);
        Ok((LogStored { tight: false }, Bytes::new()))
    }

    fn read(&self, call: &ReadLog) -> Answer<LogRead, ReadLogRefusal> {
        let (mut entries, mut bulk, mut end) = (Vec::new(), Vec::new(), true);
        for (position, record) in self.records.range(call.after + 1..).map(|(_, record)| record) {
            if !entries.is_empty() && bulk.len() + record.len() > call.bytes as usize {
                end = false;
                break;
            }
            entries.push(LogEntry { position: *position, len: record.len() as u32 });
            bulk.extend_from_slice(record);
        }
        Ok((LogRead { entries, end }, bulk.into()))
    }

    fn trim(&mut self, call: &TrimLog) -> Answer<LogTrimmed, LogRefusal> {
        self.granted(call.epoch)?;
        self.trimmed = self.trimmed.max(call.up_to);
        let trimmed = self.trimmed;
        let void = |position: &Position| {
            call.void_after.is_some_and(|end| position.seq > end && position.epoch < call.epoch)
        };
        self.records.retain(|seq, (position, _)| *seq > trimmed && !void(position));
        Ok((LogTrimmed {}, Bytes::new()))
    }

    fn put_object(&mut self, call: &PutObject, part: Bytes) -> Answer<LogStored, LogRefusal> {
        self.granted(call.key.epoch)?;
        self.objects.entry(call.key).or_insert(part);
        Ok((LogStored { tight: false }, Bytes::new()))
    }

    fn get_object(&self, call: &GetObject) -> Answer<ObjectRead, GetObjectRefusal> {
        let part = self.objects.get(&call.key).cloned();
        part.map(|part| (ObjectRead {}, part)).ok_or(Failure::Refused(GetObjectRefusal::Absent))
    }

    fn delete_objects(&mut self, call: &DeleteObjects) -> Answer<LogTrimmed, LogRefusal> {
        self.granted(call.epoch)?;
        self.objects.retain(|key, _| !call.keys.contains(key));
        Ok((LogTrimmed {}, Bytes::new()))
    }

    fn list_objects(&self, call: &ListObjects) -> Answer<ObjectsListed, ReadLogRefusal> {
        let later = self.objects.keys().filter(|key| call.after.is_none_or(|after| **key > after));
        Ok((ObjectsListed { keys: later.copied().collect() }, Bytes::new()))
    }
}

/// Starts a drive whose log is kept by the stage.
pub(crate) fn drive(credentials: &Credentials, stage: &Stage) -> Running {
    let this: NodeId = credentials.identity().node;
    macro_rules! log {
        ($router:expr, $call:ty, |$log:ident, $it:ident, $bulk:ident| $answer:expr) => {{
            let stage = stage.clone();
            $router.on(COMPUTE, move |_: CallContext, $it: $call, $bulk: Bytes| {
                let _ = &$bulk;
                let answer = stage.with(|seen| {
                    if seen.silent.contains(&this) {
                        return Err(Failure::Fault(weft_wire::Fault::NotServing));
                    }
                    let $log = seen.logs.entry(this).or_default();
                    $answer
                });
                async move { answer }
            })
        }};
    }
    let router = Router::new();
    let router = log!(router, SealLog, |log, call, bulk| log.seal(&call));
    let router = log!(router, PutLog, |log, call, bulk| log.put(&call, bulk.clone()));
    let router = log!(router, ReadLog, |log, call, bulk| log.read(&call));
    let router = log!(router, TrimLog, |log, call, bulk| log.trim(&call));
    let router = log!(router, PutObject, |log, call, bulk| log.put_object(&call, bulk.clone()));
    let router = log!(router, GetObject, |log, call, bulk| log.get_object(&call));
    let router = log!(router, DeleteObjects, |log, call, bulk| log.delete_objects(&call));
    let router = log!(router, ListObjects, |log, call, bulk| log.list_objects(&call));
    let (deleting, closing) = (stage.clone(), stage.clone());
    let router = router
        .on(COMPUTE, move |_: CallContext, call: DeleteShards, _| {
            let answer = deleting.with(|seen| {
                if seen.refusing.contains(&this) {
                    seen.refused += 1;
                    return Err(Failure::Refused(DeleteRefusal::Device));
                }
                seen.deleted.entry(this).or_default().extend(call.keys.iter().copied());
                Ok((ShardsDeleted { deleted: 0 }, Bytes::new()))
            });
            async move { answer }
        })
        .on(COMPUTE, move |_: CallContext, _: ListShards, _| async move {
            // Whether shards are kept is of no matter here.
            Ok((ShardsListed { keys: Vec::new() }, Bytes::new()))
        })
        .on(COMPUTE, move |_: CallContext, call: CloseSessions, _| {
            let answer = closing.with(|seen| {
                if seen.refusing.contains(&this) {
                    seen.refused += 1;
                    return Err(Failure::Refused(CloseRefusal::Device));
                }
                seen.closed.entry(this).or_default().extend(call.sessions.iter().copied());
                Ok((SessionsClosed {}, Bytes::new()))
            });
            async move { answer }
        });
    serve(credentials, router)
}
