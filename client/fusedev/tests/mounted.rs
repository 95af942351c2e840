//! A mount of one file, by the kernel of this host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_fusedev::protocol::{Answer, Entry, NodeAttributes, Time, flags};
use weft_fusedev::{
    Errno, Handler, Header, Known, MountOptions, NodeId, Notifier, Reply, Request, Session, SessionError,
    Terms, Unmounter,
};

const FILE: NodeId = NodeId::new(2);
/// Nothing that the kernel is told is asked for again by itself.
const TTL: Duration = Duration::from_secs(3600);

/// One file, `file`, as long as is told.
#[derive(Default)]
struct OneFile {
    len: AtomicU64,
    /// Lookups of names that are not there.
    missed: AtomicU64,
}

impl OneFile {
    fn attributes(&self, node: NodeId) -> NodeAttributes {
        let time = Time { seconds: -2, nanos: 5 };
        NodeAttributes {
            node,
            size: self.len.load(Ordering::SeqCst),
            blocks: 0,
            accessed: time,
            modified: time,
            changed: time,
            created: Time { seconds: 77, nanos: 0 },
            mode: if node == NodeId::ROOT { 0o040_755 } else { 0o100_644 },
            links: 1,
            uid: 0,
            gid: 0,
            device: 0,
            block_size: 4096,
        }
    }
}

impl Handler for OneFile {
    fn handle(&self, header: &Header, request: Request<'_>, reply: Reply) {
        let attributes = self.attributes(header.node);
        match request {
            Request::GetAttributes { .. } => reply.answer(&Answer::attributes(TTL, &attributes)),
            Request::ExtendedAttributes { .. } => {
                reply.answer(&Answer::extended_attributes(TTL, &attributes))
            }
            Request::Lookup { name: b"file" } => reply.answer(&Answer::entry(&Entry {
                node: FILE,
                generation: 0,
                name_ttl: TTL,
                attributes_ttl: TTL,
                attributes: self.attributes(FILE),
            })),
            Request::Lookup { .. } => {
                self.missed.fetch_add(1, Ordering::SeqCst);
                reply.answer(&Answer::no_entry(TTL));
            }
            _ => reply.error(Errno::NOSYS),
        }
    }

    fn forget(&self, _: NodeId, _: u64) {}
}

struct Mounted {
    folder: tempfile::TempDir,
    file: Arc<OneFile>,
    notifier: Notifier,
    unmounter: Unmounter,
    served: JoinHandle<Result<(), SessionError>>,
}

fn options(read_only: bool) -> MountOptions {
    let name = || "weft-test".to_owned();
    MountOptions {
        source: name(),
        subtype: name(),
        read_only,
        suid: false,
        dev: false,
        exec: true,
        access_times: true,
        allow_other: true,
    }
}

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = flags::BIG_WRITES | flags::MAX_PAGES | flags::PARALLEL_DIROPS;
        let terms = Terms { flags, max_write: 1 << 20, max_readahead: 1 << 17, max_background: 16 };
        let session = Session::mount(folder.path(), &options(false), &terms).expect("root may mount");
        assert!(session.agreement().has(flags::MAX_PAGES));
        let file = Arc::new(OneFile::default());
        file.len.store(1, Ordering::SeqCst);
        let (notifier, unmounter) = (session.notifier(), session.unmounter());
        let handler = Arc::clone(&file);
        let served = std::thread::spawn(move || session.serve(&handler, 2));
        Self { folder, file, notifier, unmounter, served }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn end(self) {
        self.unmounter.unmount().expect("nobody uses it");
        self.served.join().expect("no panic").expect("it was unmounted");
        self.unmounter.unmount().expect("once more changes nothing");
    }
}

#[test]
fn what_is_told_is_believed_until_it_is_taken_back() {
    let mounted = Mounted::new();
    let file = mounted.path().join("file");
    let len = || fs::metadata(&file).expect("it is there").len();
    assert_eq!(len(), 1);
    mounted.file.len.store(2, Ordering::SeqCst);
    assert_eq!(len(), 1, "the kernel believes what it was told");
    assert_eq!(mounted.notifier.invalidate_inode(FILE, -1, 0).expect("told"), Known::Dropped);
    assert_eq!(len(), 2);
    assert_eq!(mounted.notifier.invalidate_inode(NodeId::new(99), 0, 0).expect("told"), Known::Unknown);
    let stat = fs::metadata(&file).expect("it is there");
    assert_eq!((stat.mtime(), stat.mtime_nsec(), stat.mode()), (-2, 5, 0o100_644));
    let created = stat.created().expect("statx tells").duration_since(std::time::UNIX_EPOCH).expect("later");
    assert_eq!(created, Duration::from_secs(77));
    mounted.end();
}

#[test]
fn names_are_looked_up_again_when_they_are_taken_back() {
    let mounted = Mounted::new();
    let missed = || {
        assert!(!mounted.path().join("missing").exists());
        mounted.file.missed.load(Ordering::SeqCst)
    };
    assert_eq!((missed(), missed()), (1, 1), "the kernel remembers that it is not there");
    if mounted.notifier.begin_epoch().expect("told") == Known::Dropped {
        assert_eq!((missed(), missed()), (2, 2));
    }
    mounted.end();
}

#[test]
fn a_mount_that_nobody_serves_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let is_mounted = || {
        let table = fs::read_to_string("/proc/self/mounts").expect("readable");
        let line = table.lines().find(|line| line.contains(&*folder.path().to_string_lossy()));
        line.map(str::to_owned)
    };
    let terms = Terms { flags: 0, max_write: 1 << 20, max_readahead: 0, max_background: 16 };
    let session = Session::mount(folder.path(), &options(true), &terms).expect("root may mount");
    let line = is_mounted().expect("it is there");
    assert!(
        line.starts_with("weft-test ") && line.contains(" fuse.weft-test ro,nosuid,nodev,relatime,"),
        "{line}"
    );
    drop(session);
    assert_eq!(is_mounted(), None);
}
