//! The names of what custody keeps on a device.
//!
//! | first byte | rest of the key | value |
//! |---|---|---|
//! | `c` | page: u32, copy: u8 | [document](super::document) of a page of closed sessions |
//! | `g` | filesystem: 16, shard: u16, copy: u8 | document of a log's grant and its trimmed mark |
//! | `l` | filesystem: 16, shard: u16, sequence: u64, epoch: u64, digest: 16 | a record, as it was put |
//! | `o` | filesystem: 16, shard: u16, epoch: u64, number: u64, part: u32, digest: 16 | a part of a checkpoint |
//! | `p` | copy: u8 | document of what the drive promised and heard about the cluster store |
//! | `s` | copy: u8 | document of its copy of the cluster store |
//!
//! Numbers are big-endian, so that keys sort as what they name. A digest is the first 16 bytes of the BLAKE3 of the
//! value: what is there is known from the keys alone.

use weft_types::{Epoch, FilesystemId, MetadataShard, Position};
use weft_wire::log::{LogKey, ObjectKey};

use crate::key::ItemKey;

/// How often a document is kept.
pub(super) const COPIES: [u8; 2] = [0, 1];

/// The first 16 bytes of a BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_bytes()[..16]);
        Self(first)
    }
}

/// A document, by what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    Closed { page: u32 },
    Log(LogKey),
    Promise,
    Store,
}

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Document(Document, u8),
    Record(LogKey, Position, Fingerprint),
    Object(ObjectKey, Fingerprint),
}

impl Named {
    pub(super) fn key(&self) -> ItemKey {
        let mut key = Vec::with_capacity(64);
        match self {
            Self::Document(Document::Closed { page }, copy) => {
                key.push(b'c');
                key.extend(page.to_be_bytes());
                key.push(*copy);
            }
            Self::Document(Document::Log(log), copy) => {
                put_log(&mut key, b'g', *log);
                key.push(*copy);
            }
            Self::Document(Document::Promise, copy) => key.extend([b'p', *copy]),
            Self::Document(Document::Store, copy) => key.extend([b's', *copy]),
            Self::Record(log, position, fingerprint) => {
                put_log(&mut key, b'l', *log);
                key.extend(position.seq.to_be_bytes());
                key.extend(position.epoch.get().to_be_bytes());
                key.extend(fingerprint.0);
            }
            Self::Object(object, fingerprint) => {
                put_log(&mut key, b'o', object.log);
                key.extend(object.epoch.get().to_be_bytes());
                key.extend(object.number.to_be_bytes());
                key.extend(object.part.to_be_bytes());
                key.extend(fingerprint.0);
            }
        }
        ItemKey::new(&key).expect("1 to 64 bytes")
    }

    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        let mut rest = Rest(rest);
        let named = match kind {
            b'c' => Self::Document(Document::Closed { page: u32::from_be_bytes(rest.take()?) }, rest.copy()?),
            b'g' => Self::Document(Document::Log(rest.log()?), rest.copy()?),
            b'p' => Self::Document(Document::Promise, rest.copy()?),
            b's' => Self::Document(Document::Store, rest.copy()?),
            b'l' => {
                let (log, seq, epoch) = (rest.log()?, rest.number()?, Epoch::new(rest.number()?));
                Self::Record(log, Position { epoch, seq }, Fingerprint(rest.take()?))
            }
            b'o' => {
                let (log, epoch, number) = (rest.log()?, Epoch::new(rest.number()?), rest.number()?);
                let object = ObjectKey { log, epoch, number, part: u32::from_be_bytes(rest.take()?) };
                Self::Object(object, Fingerprint(rest.take()?))
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(named)
    }
}

fn put_log(key: &mut Vec<u8>, kind: u8, log: LogKey) {
    key.push(kind);
    key.extend(log.filesystem.to_bytes());
    key.extend(log.shard.get().to_be_bytes());
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn copy(&mut self) -> Option<u8> {
        self.take::<1>().map(|[copy]| copy).filter(|copy| COPIES.contains(copy))
    }

    fn log(&mut self) -> Option<LogKey> {
        let filesystem = FilesystemId::from_bytes(self.take()?);
        Some(LogKey { filesystem, shard: MetadataShard::new(u16::from_be_bytes(self.take()?)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn logs() -> impl Strategy<Value = LogKey> {
        any::<([u8; 16], u16)>().prop_map(|(filesystem, shard)| LogKey {
            filesystem: FilesystemId::from_bytes(filesystem),
            shard: MetadataShard::new(shard),
        })
    }

    fn fingerprints() -> impl Strategy<Value = Fingerprint> {
        any::<[u8; 16]>().prop_map(Fingerprint)
    }

    fn names() -> impl Strategy<Value = Named> {
        let documents = prop_oneof![
            any::<u32>().prop_map(|page| Document::Closed { page }),
            logs().prop_map(Document::Log),
            Just(Document::Promise),
            Just(Document::Store),
        ];
        let records = (logs(), any::<(u64, u64)>(), fingerprints()).prop_map(|(log, (epoch, seq), print)| {
            Named::Record(log, Position { epoch: Epoch::new(epoch), seq }, print)
        });
        let objects = (logs(), any::<(u64, u64, u32)>(), fingerprints()).prop_map(
            |(log, (epoch, number, part), print)| {
                Named::Object(ObjectKey { log, epoch: Epoch::new(epoch), number, part }, print)
            },
        );
        prop_oneof![
            (documents, 0_u8..2).prop_map(|(document, copy)| Named::Document(document, copy)),
            records,
            objects
        ]
    }

    proptest! {
        #[test]
        fn a_name_survives_its_key(named in names()) {
            let key = named.key();
            prop_assert_eq!(Named::parse(key.as_bytes()), Some(named));
            let longer = [key.as_bytes(), &[0]].concat();
            prop_assert_eq!(Named::parse(&longer), None);
        }

        #[test]
        fn any_bytes_are_a_name_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(named) = Named::parse(&bytes) {
                let key = named.key();
                prop_assert_eq!(key.as_bytes(), bytes.as_slice());
            }
        }
    }
}
