//! What the kernel is told.

use core::time::Duration;

use proptest::prelude::*;
use rustix::io::Errno;

use crate::protocol::flags::{ASYNC_READ, INIT_EXT, MAX_PAGES, OVER_IO_URING, POSIX_ACL};
use crate::protocol::*;

const ATTRIBUTES: NodeAttributes = NodeAttributes {
    node: NodeId::new(0x0102_0304_0506_0708),
    size: 4097,
    blocks: 16,
    accessed: Time { seconds: -1, nanos: 1 },
    modified: Time { seconds: 2, nanos: 3 },
    changed: Time { seconds: 4, nanos: 5 },
    created: Time { seconds: 6, nanos: 7 },
    mode: 0o100_644,
    links: 1,
    uid: 1000,
    gid: 100,
    device: 0x0080_1234,
    block_size: 1 << 20,
};

const TTL: Duration = Duration::new(5, 250);

#[track_caller]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[track_caller]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[test]
fn a_header_tells_length_errno_and_request() {
    let refused = answer_header(Unique::new(7), Some(Errno::NOENT), 0);
    assert_eq!((u32_at(&refused, 0), u32_at(&refused, 4).cast_signed(), u64_at(&refused, 8)), (16, -2, 7));
    let done = answer_header(Unique::new(7), None, 100);
    assert_eq!((u32_at(&done, 0), u32_at(&done, 4)), (116, 0));
}

/// `struct fuse_attr` is 88 bytes, `fuse_attr_out` 104, `fuse_entry_out` 128, with an open file 144.
#[test]
fn attributes_have_their_places() {
    let answer = Answer::attributes(TTL, &ATTRIBUTES);
    let bytes = answer.as_bytes();
    assert_eq!(bytes.len(), 104);
    assert_eq!((u64_at(bytes, 0), u32_at(bytes, 8)), (5, 250));
    let attr = &bytes[16..];
    assert_eq!((u64_at(attr, 0), u64_at(attr, 8), u64_at(attr, 16)), (0x0102_0304_0506_0708, 4097, 16));
    assert_eq!((u64_at(attr, 24).cast_signed(), u64_at(attr, 32), u64_at(attr, 40)), (-1, 2, 4));
    assert_eq!((u32_at(attr, 48), u32_at(attr, 52), u32_at(attr, 56)), (1, 3, 5));
    assert_eq!(
        (u32_at(attr, 60), u32_at(attr, 64), u32_at(attr, 68), u32_at(attr, 72)),
        (0o100_644, 1, 1000, 100)
    );
    assert_eq!((u32_at(attr, 76), u32_at(attr, 80), u32_at(attr, 84)), (0x0080_1234, 1 << 20, 0));
    let entry = Entry {
        node: ATTRIBUTES.node,
        generation: 9,
        name_ttl: Duration::from_secs(1),
        attributes_ttl: TTL,
        attributes: ATTRIBUTES,
    };
    let opened = Opened { handle: Handle::new(3), flags: 0x22 };
    let created = Answer::created(&entry, &opened);
    let bytes = created.as_bytes();
    assert_eq!(bytes.len(), 144);
    assert_eq!((u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24)), (9, 1, 5));
    assert_eq!((u32_at(bytes, 32), u32_at(bytes, 36)), (0, 250));
    assert_eq!(&bytes[40..128], attr);
    assert_eq!((u64_at(bytes, 128), u32_at(bytes, 136), u32_at(bytes, 140)), (3, 0x22, 0));
    assert_eq!(&bytes[..128], Answer::entry(&entry).as_bytes());
}

#[test]
fn a_name_that_is_not_there_may_be_believed_too() {
    let answer = Answer::no_entry(TTL);
    let bytes = answer.as_bytes();
    assert_eq!((bytes.len(), u64_at(bytes, 0), u64_at(bytes, 16), u32_at(bytes, 32)), (128, 0, 5, 250));
}

/// `struct fuse_statx` begins 32 bytes into its answer; times are access, birth, change, modification.
#[test]
fn statx_tells_when_an_inode_was_made() {
    let answer = Answer::extended_attributes(TTL, &ATTRIBUTES);
    let bytes = answer.as_bytes();
    assert_eq!(bytes.len(), 288);
    assert_eq!((u64_at(bytes, 0), u32_at(bytes, 8)), (5, 250));
    let statx = &bytes[32..];
    assert_eq!((u32_at(statx, 0), u32_at(statx, 4)), (0xfff, 1 << 20));
    assert_eq!((u32_at(statx, 16), u32_at(statx, 20), u32_at(statx, 24)), (1, 1000, 100));
    assert_eq!(u16::from_ne_bytes([statx[28], statx[29]]), 0o100_644);
    assert_eq!((u64_at(statx, 32), u64_at(statx, 40)), (0x0102_0304_0506_0708, 4097));
    let times = [64, 80, 96, 112].map(|at| (u64_at(statx, at).cast_signed(), u32_at(statx, at + 8)));
    assert_eq!(times, [(-1, 1), (6, 7), (4, 5), (2, 3)]);
    assert_eq!((u32_at(statx, 128), u32_at(statx, 132)), (0x12, 0x834));
}

#[test]
fn other_answers_have_the_lengths_that_the_kernel_wants() {
    let space = FileSystemSpace { blocks: 1, free: 2, files: 3, files_free: 4, unit: 4096, name_max: 255 };
    let lock = Lock { start: 1, end: 2, kind: LockKind::Unlock, process: 3 };
    let rows = [
        (Answer::space(&space), 80),
        (Answer::written(5), 8),
        (Answer::copied(5), 8),
        (Answer::found_at(5), 8),
        (Answer::xattr_size(5), 8),
        (Answer::lock(&lock), 24),
        (Answer::empty(), 0),
    ];
    for (answer, len) in rows {
        assert_eq!(answer.as_bytes().len(), len);
    }
    let space = Answer::space(&space);
    assert_eq!((u32_at(space.as_bytes(), 40), u32_at(space.as_bytes(), 44)), (4096, 255));
    assert_eq!(u32_at(Answer::lock(&lock).as_bytes(), 16), 2);
}

#[test]
fn what_is_agreed_is_what_both_have() {
    let terms = Terms {
        flags: ASYNC_READ | MAX_PAGES | OVER_IO_URING,
        max_write: 1 << 20,
        max_readahead: 1 << 20,
        max_background: 64,
    };
    let offered = ASYNC_READ | MAX_PAGES | POSIX_ACL | INIT_EXT | OVER_IO_URING;
    let init = Init { major: 7, minor: 99, max_readahead: 131_072, flags: offered };
    let agreement = Agreement::between(&init, &terms).expect("new enough");
    assert_eq!(agreement.minor, 45);
    let answer = Answer::agreement(&agreement);
    let bytes = answer.as_bytes();
    assert_eq!(bytes.len(), 64);
    assert_eq!((u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8)), (7, 45, 131_072));
    assert_eq!(u64::from(u32_at(bytes, 12)), ASYNC_READ | MAX_PAGES | INIT_EXT);
    assert_eq!((u32_at(bytes, 16), u32_at(bytes, 20)), (48 << 16 | 64, 1 << 20));
    assert_eq!((u32_at(bytes, 24), u32_at(bytes, 28), u32_at(bytes, 32)), (1, 256, 1 << 9));
    for (minor, epochs) in [(43, false), (44, true)] {
        let agreement = Agreement::between(&Init { minor, ..init }, &terms).expect("new enough");
        assert_eq!((agreement.minor, agreement.has_epochs()), (minor, epochs));
    }
    assert!(Agreement::between(&Init { minor: 30, ..init }, &terms).is_err());
    assert!(Agreement::between(&Init { major: 8, ..init }, &terms).is_err());
}

#[test]
fn notifications_have_their_places() {
    let inode = Notification::Inode { node: NodeId::new(5), offset: -1, len: 4096 }.to_bytes();
    assert_eq!(inode.len(), 40);
    assert_eq!((u32_at(&inode, 0), u32_at(&inode, 4), u64_at(&inode, 8)), (40, 2, 0));
    assert_eq!((u64_at(&inode, 16), u64_at(&inode, 24).cast_signed(), u64_at(&inode, 32)), (5, -1, 4096));
    let epoch = Notification::Epoch.to_bytes();
    assert_eq!((epoch.len(), u32_at(&epoch, 0), u32_at(&epoch, 4)), (16, 16, 8));
}

#[test]
fn entries_of_a_directory_are_aligned() {
    let mut listing = Directory::new(4096);
    let entry = DirectoryEntry { node: NodeId::new(7), cookie: 3, kind: 4, name: b"abc" };
    assert!(listing.push(&entry));
    let bytes = listing.as_bytes();
    assert_eq!((bytes.len(), u64_at(bytes, 0), u64_at(bytes, 8)), (32, 7, 3));
    assert_eq!((u32_at(bytes, 16), u32_at(bytes, 20), &bytes[24..]), (3, 4, &b"abc\0\0\0\0\0"[..]));
    let mut listing = Directory::new(4096);
    assert!(listing.push_plus(&entry, None));
    assert_eq!((listing.as_bytes().len(), u64_at(listing.as_bytes(), 128)), (160, 7));
}

proptest! {
    #[test]
    fn a_listing_never_outgrows_its_room(
        room in 0_u32..600,
        names in proptest::collection::vec(proptest::collection::vec(1_u8..=255, 1..256), 0..20),
        plus: bool,
    ) {
        let mut listing = Directory::new(room);
        for name in &names {
            let entry = DirectoryEntry { node: NodeId::ROOT, cookie: 1, kind: 8, name };
            let before = listing.as_bytes().len();
            let added = if plus { listing.push_plus(&entry, None) } else { listing.push(&entry) };
            let len = listing.as_bytes().len();
            prop_assert!(len <= room as usize && len.is_multiple_of(8));
            prop_assert_eq!(added, len > before);
        }
    }
}
