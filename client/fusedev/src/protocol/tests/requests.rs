//! What the kernel sends.

use proptest::prelude::*;

use crate::protocol::flags::INIT_EXT;
use crate::protocol::*;

/// Fields one after the other, as C lays them out where none needs padding.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn text(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }

    /// `struct fuse_in_header`, then these.
    fn request(self, opcode: u32) -> Vec<u8> {
        let header = Bytes::default().u32(40 + self.0.len() as u32).u32(opcode);
        let header = header.u64(0x1111).u64(0x2222).u32(1000).u32(100).u32(4321).u16(0).u16(0);
        header.text(&self.0).0
    }
}

fn bytes() -> Bytes {
    Bytes::default()
}

#[track_caller]
fn parsed(bytes: &[u8]) -> Request<'_> {
    let (header, request) = parse(bytes, false).expect("a request");
    let Header { unique, node, uid, gid, thread } = header;
    assert_eq!((unique.get(), node.get(), uid, gid, thread), (0x1111, 0x2222, 1000, 100, 4321));
    request
}

#[test]
fn names_are_read() {
    let lookup = bytes().text(b"a name\0").request(1);
    assert_eq!(parsed(&lookup), Request::Lookup { name: b"a name" });
    let symlink = bytes().text(b"link\0../target\0").request(6);
    assert_eq!(parsed(&symlink), Request::Symlink { name: b"link", target: b"../target" });
    let mkdir = bytes().u32(0o755).u32(0o022).text(b"d\0").request(9);
    assert_eq!(parsed(&mkdir), Request::MakeDirectory { name: b"d", mode: 0o755, umask: 0o022 });
    let renamed = |flags| Request::Rename { name: b"x", new_parent: NodeId::new(5), new_name: b"y", flags };
    assert_eq!(parsed(&bytes().u64(5).text(b"x\0y\0").request(12)), renamed(0));
    assert_eq!(parsed(&bytes().u64(5).u32(2).u32(0).text(b"x\0y\0").request(45)), renamed(2));
    let create = bytes().u32(0o102).u32(0o100_644).u32(0o027).u32(1).text(b"f\0").request(35);
    let fields = Create { name: b"f", flags: 0o102, mode: 0o100_644, umask: 0o027 };
    assert_eq!(parsed(&create), Request::Create(fields));
}

#[test]
fn attributes_to_set_are_those_that_are_marked() {
    // Mode, size, an explicit time of access before 1970, the modification time as of now, a descriptor.
    let valid = 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 11;
    let body = bytes().u32(valid).u32(0).u64(7).u64(4096).u64(0);
    let body = body.u64((-2_i64).cast_unsigned()).u64(9).u64(9).u32(5).u32(9).u32(9);
    let request = body.u32(0o644).u32(0).u32(1).u32(2).u32(0).request(4);
    assert_eq!(
        parsed(&request),
        Request::SetAttributes(SetAttributes {
            handle: Some(Handle::new(7)),
            mode: Some(0o644),
            size: Some(4096),
            accessed: Some(TimeChange::At(Time { seconds: -2, nanos: 5 })),
            modified: Some(TimeChange::Now),
            kill_suidgid: true,
            ..SetAttributes::default()
        })
    );
}

#[test]
fn bytes_to_write_are_borrowed() {
    let request =
        bytes().u64(3).u64(1 << 40).u32(5).u32(1 | 4).u64(0).u32(0o1).u32(0).text(b"hello").request(16);
    let Request::Write(write) = parsed(&request) else { panic!("a WRITE") };
    assert_eq!((write.handle.get(), write.offset, write.data), (3, 1 << 40, &b"hello"[..]));
    assert_eq!((write.from_cache, write.kill_suidgid, write.lock_owner), (true, true, None));
    assert_eq!(write.data.as_ptr(), request[80..].as_ptr());
}

#[test]
fn locks_of_flock_are_told_from_those_of_fcntl() {
    let lock = |flags| bytes().u64(1).u64(77).u64(10).u64(19).u32(1).u32(99).u32(flags).u32(0).request(33);
    for (flags, flock) in [(0, false), (1, true)] {
        let request = lock(flags);
        let Request::SetLock { request, wait: true } = parsed(&request) else { panic!("a SETLKW") };
        assert_eq!((request.owner.get(), request.flock), (77, flock));
        let wanted = Lock { start: 10, end: 19, kind: LockKind::Write, process: 99 };
        assert_eq!(request.lock, wanted);
    }
    let unknown = bytes().u64(1).u64(77).u64(10).u64(19).u32(3).u32(99).u32(0).u32(0).request(33);
    assert!(matches!(parse(&unknown, false), Err(Refused::Malformed(_))));
}

#[test]
fn the_longer_form_of_setxattr_is_read_as_agreed() {
    let short = bytes().u32(2).u32(1).text(b"user.a\0vv").request(21);
    let value = SetXattr { name: b"user.a", value: b"vv", flags: 1, kill_sgid: false };
    assert_eq!(parsed(&short), Request::SetXattr(value));
    let long = bytes().u32(2).u32(1).u32(1).u32(0).text(b"user.a\0vv").request(21);
    let (_, request) = parse(&long, true).expect("a request");
    assert_eq!(request, Request::SetXattr(SetXattr { kill_sgid: true, ..value }));
}

#[test]
fn what_is_newer_than_the_crate_before_is_read() {
    assert_eq!(parsed(&bytes().u64(0x1110).request(36)), Request::Interrupt(Unique::new(0x1110)));
    assert_eq!(parsed(&bytes().u64(0).request(50)), Request::SyncFilesystem);
    let unnamed = bytes().u32(0).u32(0o100_600).u32(0).u32(0).text(b"/\0").request(51);
    assert!(matches!(parsed(&unnamed), Request::CreateUnnamed(Create { mode: 0o100_600, .. })));
    let statx = bytes().u32(1).u32(0).u64(8).u32(0).u32(0xfff).request(52);
    assert_eq!(parsed(&statx), Request::ExtendedAttributes { handle: Some(Handle::new(8)) });
    let copy = bytes().u64(1).u64(2).u64(3).u64(4).u64(5).u64(1 << 33).u64(0);
    let Request::CopyRange(copy) = parsed(&copy.request(53)).to_owned() else { panic!("a copy") };
    assert_eq!((copy.to_node.get(), copy.to.get(), copy.len, copy.wide), (3, 4, 1 << 33, true));
}

#[test]
fn forgets_come_in_batches() {
    let request = bytes().u32(2).u32(0).u64(5).u64(1).u64(6).u64(300).request(42);
    let Request::BatchForget(forgets) = parsed(&request) else { panic!("a BATCH_FORGET") };
    let all: Vec<_> = forgets.iter().map(|(node, references)| (node.get(), references)).collect();
    assert_eq!(all, [(5, 1), (6, 300)]);
    let more_than_there_are = bytes().u32(u32::MAX).u32(0).u64(5).u64(1).request(42);
    assert!(matches!(parse(&more_than_there_are, false), Err(Refused::Malformed(_))));
}

#[test]
fn both_words_of_flags_are_negotiated() {
    let ext = INIT_EXT as u32;
    let request = bytes().u32(7).u32(45).u32(131_072).u32(ext | 1).u32(1 << 10).text(&[0; 44]).request(26);
    let Request::Init(init) = parsed(&request) else { panic!("an INIT") };
    assert_eq!((init.minor, init.max_readahead, init.flags), (45, 131_072, u64::from(ext) | 1 | 1 << 42));
    let short = bytes().u32(7).u32(31).u32(131_072).u32(1).request(26);
    let Request::Init(init) = parsed(&short) else { panic!("an INIT") };
    assert_eq!(init.flags, 1);
}

#[test]
fn what_cannot_be_read_is_refused_and_never_guessed() {
    assert!(matches!(parsed(&bytes().request(9999)), Request::Unknown { opcode: 9999 }));
    for request in [
        bytes().text(b"no end").request(1),
        bytes().u64(3).u64(0).u32(u32::MAX).u32(0).u64(0).u32(0).u32(0).text(b"short").request(16),
        bytes().u32(0).request(3),
    ] {
        assert!(
            matches!(parse(&request, false), Err(Refused::Malformed(header)) if header.unique.get() == 0x1111)
        );
    }
    assert_eq!(parse(&[0; 39], false), Err(Refused::Headless));
    let mut longer_than_read = bytes().text(b"a\0").request(1);
    longer_than_read[0] = 60;
    assert!(matches!(parse(&longer_than_read, false), Err(Refused::Malformed(_))));
}

#[test]
fn extensions_are_no_part_of_a_name() {
    let mut request = bytes().text(b"a\0").text(&[1; 8]).request(1);
    request[36] = 1;
    assert_eq!(parsed(&request), Request::Lookup { name: b"a" });
    request[36] = 100;
    assert!(matches!(parse(&request, false), Err(Refused::Malformed(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), extended: bool) {
        let _ = parse(&bytes, extended);
    }

    #[test]
    fn no_body_of_any_operation_makes_it_panic(
        opcode in 0_u32..60,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        extended: bool,
    ) {
        let request = bytes().text(&body).request(opcode);
        if let Ok((_, Request::BatchForget(forgets))) = parse(&request, extended) {
            prop_assert!(forgets.iter().count() <= body.len() / 16);
        }
    }
}
