//! Requests are dispatched and answered over a socket that keeps messages apart, as the device does.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use proptest::prelude::*;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use super::*;
use crate::interrupts::Patience;

/// Answers by the name that is looked up; keeps the replies of some.
#[derive(Default)]
struct Fake {
    kept: Mutex<Vec<Reply>>,
    forgotten: Mutex<Vec<(u64, u64)>>,
}

impl Handler for Fake {
    fn handle(&self, _: &Header, request: Request<'_>, reply: Reply) {
        match request {
            Request::Lookup { name: b"parts" } => reply.data(&[b"one", b"", b"two", b"three"]),
            Request::Lookup { name: b"keep" } => self.kept.lock().expect("no panic").push(reply),
            Request::Lookup { name: b"drop" } => drop(reply),
            Request::Lookup { name: b"panic" } => panic!("as it was told"),
            _ => reply.error(Errno::NOENT),
        }
    }

    fn forget(&self, node: NodeId, references: u64) {
        self.forgotten.lock().expect("no panic").push((node.get(), references));
    }
}

struct Wire {
    reader: Reader<Fake>,
    kernel: OwnedFd,
}

impl Wire {
    fn new() -> Self {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, kernel) = socketpair(kind.0, kind.1, kind.2, None).expect("a pair");
        let agreement =
            Agreement { minor: 45, flags: 0, max_write: 4096, max_readahead: 0, max_background: 1 };
        let (handler, flights) = (Arc::default(), Arc::default());
        Self { reader: Reader { channel: Arc::new(Channel::of(ours)), handler, flights, agreement }, kernel }
    }

    fn send(&self, opcode: u32, unique: u64, body: &[u8]) {
        let mut request = (40 + body.len() as u32).to_ne_bytes().to_vec();
        request.extend(opcode.to_ne_bytes());
        request.extend(unique.to_ne_bytes());
        request.extend(1_u64.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(std::process::id().to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        self.reader.dispatch(&request);
    }

    /// The next message: its request, its errno, and what is behind the header.
    fn answer(&self) -> Option<(u64, i32, Vec<u8>)> {
        let mut buffer = [0; 4096];
        let (len, _) = recv(&self.kernel, &mut buffer, RecvFlags::DONTWAIT).ok()?;
        assert_eq!(u32::from_ne_bytes(buffer[..4].try_into().expect("four")) as usize, len);
        let error = -i32::from_ne_bytes(buffer[4..8].try_into().expect("four"));
        let unique = u64::from_ne_bytes(buffer[8..16].try_into().expect("eight"));
        Some((unique, error, buffer[16..len].to_vec()))
    }
}

const LOOKUP: u32 = 1;
const EIO: i32 = 5;

#[test]
fn an_answer_in_parts_is_one_message() {
    let wire = Wire::new();
    wire.send(LOOKUP, 2, b"parts\0");
    assert_eq!(wire.answer(), Some((2, 0, b"onetwothree".to_vec())));
    assert_eq!(wire.answer(), None);
}

#[test]
fn whatever_happens_to_a_request_it_is_answered_once() {
    let wire = Wire::new();
    for (unique, name) in [(2, &b"drop\0"[..]), (4, b"panic\0"), (6, b"no end")] {
        wire.send(LOOKUP, unique, name);
        assert_eq!(wire.answer(), Some((unique, EIO, vec![])), "{name:?}");
        assert_eq!(wire.answer(), None);
    }
    wire.send(9999, 8, b"");
    assert_eq!(wire.answer(), Some((8, Errno::NOSYS.raw_os_error(), vec![])));
    wire.send(LOOKUP, 10, b"parts\0");
    assert!(wire.answer().is_some(), "the thread reads on");
}

#[test]
fn what_wants_no_answer_gets_none() {
    let wire = Wire::new();
    wire.send(2, 2, &3_u64.to_ne_bytes());
    let pairs: Vec<u8> = [2_u64, 5, 1, 6, 4].iter().flat_map(|field| field.to_ne_bytes()).collect();
    wire.send(42, 4, &pairs);
    wire.send(36, 6, &99_u64.to_ne_bytes());
    assert_eq!(wire.answer(), None);
    assert_eq!(*wire.reader.handler.forgotten.lock().expect("no panic"), [(1, 3), (5, 1), (6, 4)]);
}

#[tokio::test]
async fn a_wait_for_a_lock_hears_of_a_signal_whenever_it_comes() {
    for early in [true, false] {
        let wire = Wire::new();
        let interrupt = || wire.send(36, 0, &2_u64.to_ne_bytes());
        wire.send(LOOKUP, 2, b"keep\0");
        let mut reply = wire.reader.handler.kept.lock().expect("no panic").pop().expect("kept");
        if early {
            interrupt();
        }
        let interrupted = reply.interrupted(Patience::UntilSignal);
        if !early {
            interrupt();
        }
        interrupted.await;
        reply.error(Errno::INTR);
        assert_eq!(wire.answer(), Some((2, Errno::INTR.raw_os_error(), vec![])));
        assert_eq!(wire.answer(), None);
    }
}

#[tokio::test]
async fn what_was_answered_is_not_interrupted_any_more() {
    let wire = Wire::new();
    wire.send(LOOKUP, 2, b"keep\0");
    let mut reply = wire.reader.handler.kept.lock().expect("no panic").pop().expect("kept");
    let interrupted = reply.interrupted(Patience::UntilSignal);
    reply.ok();
    wire.send(36, 0, &2_u64.to_ne_bytes());
    tokio::select! {
        biased;
        () = interrupted => panic!("there is nobody left"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(wire.answer(), Some((2, 0, vec![])));
    assert_eq!(wire.answer(), None);
}

proptest! {
    #[test]
    fn no_bytes_end_the_thread(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let wire = Wire::new();
        wire.reader.dispatch(&bytes);
        wire.send(LOOKUP, 2, b"parts\0");
        let answers: Vec<_> = core::iter::from_fn(|| wire.answer()).collect();
        prop_assert_eq!(answers.last().map(|(unique, ..)| *unique), Some(2));
    }
}
