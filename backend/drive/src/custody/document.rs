//! What a drive must never forget: small documents, each kept twice.
//!
//! Both copies are durable before anybody is answered. A document's value is the number of the attempt that wrote it
//! (u64, little-endian) and its body; of two copies the one of the higher attempt counts, so that neither a damaged
//! copy nor an old one that came back takes anything away. Attempts are numbered over the whole drive: one that failed
//! half-way never looks like the one after it.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use weft_types::{Epoch, NodeId, SessionId, StoreVersion};

use super::decision::Write;
use super::item::{COPIES, Document, Named};

/// A page of closed sessions.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct ClosedPage {
    #[n(0)]
    pub(super) sessions: Vec<SessionId>,
}

/// What a drive knows of a log beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct LogNote {
    /// The highest epoch that it was sealed with, and whose that is.
    #[n(0)]
    pub(super) epoch: Epoch,
    #[n(1)]
    pub(super) owner: NodeId,
    /// Records up to this sequence are consumed.
    #[n(2)]
    pub(super) trimmed: u64,
}

/// What a drive promised and heard about the cluster store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Promise {
    #[n(0)]
    pub(super) promised: Epoch,
    #[n(1)]
    pub(super) heard: StoreVersion,
}

/// What stands before a copy of the cluster store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct CopyHeader {
    #[n(0)]
    pub(super) term: Epoch,
    #[n(1)]
    pub(super) version: StoreVersion,
    /// See [`Promise::heard`].
    #[n(2)]
    pub(super) heard: StoreVersion,
}

/// The writes that keep a document.
pub(super) fn keep(document: Document, attempt: u64, body: &[u8]) -> Vec<Write> {
    let value = Bytes::from([&attempt.to_le_bytes(), body].concat());
    let put = |copy| Write::Put(Named::Document(document, copy).key(), value.clone());
    COPIES.map(put).to_vec()
}

/// The attempt and the body of a document's value.
pub(super) fn split(value: &Bytes) -> Option<(u64, Bytes)> {
    let (attempt, _) = value.split_first_chunk()?;
    Some((u64::from_le_bytes(*attempt), value.slice(8..)))
}

/// Encodes a body.
pub(super) fn body(document: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(document).expect("a vector takes all")
}

/// Decodes a body whole.
pub(super) fn read<T: for<'b> Decode<'b, ()>>(body: &[u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(body);
    let document = decoder.decode().ok()?;
    (decoder.position() == body.len()).then_some(document)
}

/// The body of a copy of the cluster store: its header's length (u32, little-endian), the header, the bytes.
pub(super) fn copy_body(header: &CopyHeader, bytes: &[u8]) -> Vec<u8> {
    let header = body(header);
    let length = u32::try_from(header.len()).expect("a few numbers").to_le_bytes();
    [&length, header.as_slice(), bytes].concat()
}

/// The parts of [`copy_body`].
pub(super) fn split_copy(body: &Bytes) -> Option<(CopyHeader, Bytes)> {
    let (length, _) = body.split_first_chunk()?;
    let end = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(4)?;
    let header = read(body.get(4..end)?)?;
    Some((header, body.slice(end..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Some((_, body)) = split(&bytes) {
                let _ = (split_copy(&body), read::<ClosedPage>(&body), read::<LogNote>(&body));
            }
            let _ = split_copy(&bytes);
        }

        #[test]
        fn a_copy_survives(term: u64, version: u64, heard: u64, bytes: Vec<u8>) {
            let (version, heard) = (StoreVersion::new(version), StoreVersion::new(heard));
            let header = CopyHeader { term: Epoch::new(term), version, heard };
            let body = Bytes::from(copy_body(&header, &bytes));
            prop_assert_eq!(split_copy(&body), Some((header, Bytes::from(bytes))));
        }
    }

    #[test]
    fn a_body_with_a_byte_more_is_none() {
        let page = ClosedPage { sessions: vec![SessionId::from_bytes([1; 16])] };
        let whole = body(&page);
        assert_eq!(read(&whole), Some(page));
        assert_eq!(read::<ClosedPage>(&[whole.as_slice(), &[0]].concat()), None);
    }
}
