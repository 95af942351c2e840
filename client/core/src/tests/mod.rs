//! The core over a cluster in memory: real metadata operations, drives that fail as they are told to.
//!
//! Time is virtual: it moves on only while everything waits.

mod accesses;
mod ahead;
mod coherence;
mod compaction;
mod cut_off;
mod drives;
mod fake;
mod faults;
mod foresight;
mod given_up;
mod groups;
mod held;
mod lock_server;
mod locks;
mod metadata;
mod model;
mod names;
mod network;
mod pages;
mod placement;
mod privileges;
mod ranges;
mod room;
mod sessions;
mod unnamed;
mod writes;
mod xattrs;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;
use weft_types::Inode;
use weft_wire::compute::SessionHolder;
use weft_wire::meta::{Attributes, Caller, FileKind, Name};

use crate::{Attachment, Core, HandleId, MEMORY_MIN, OpenMode};
use drives::Fault;
use fake::Fake;

const READ_WRITE: OpenMode = OpenMode { read: true, write: true, append: false, sync: false };
const READ_ONLY: OpenMode = OpenMode { read: true, write: false, append: false, sync: false };
const ROOT: Inode = Inode::ROOT;

fn caller() -> Caller {
    Caller { uid: 1, gid: 1 }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

/// Bytes that are different everywhere.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A mount of the fake cluster, with nothing in its caches, in the place of those before: they are gone.
fn mount(fake: &Arc<Fake>) -> Arc<Core> {
    fake.end_leases();
    mount_as(fake, false)
}

fn mount_as(fake: &Arc<Fake>, read_only: bool) -> Arc<Core> {
    attach(fake, read_only, false)
}

fn attach(fake: &Arc<Fake>, read_only: bool, access_times: bool) -> Arc<Core> {
    let opened = fake.open_session(read_only);
    let attachment = Attachment {
        backend: Arc::clone(fake) as _,
        opened,
        asked: Instant::now(),
        read_only,
        map: fake.map(),
        memory: MEMORY_MIN,
        filesystem: "default".to_owned(),
        holder: SessionHolder {
            host: "host".to_owned(),
            boot: "boot".to_owned(),
            pid: 1,
            mount: "/mnt".to_owned(),
        },
        sealing_threads: false,
        access_times,
    };
    Core::attach(attachment, Handle::current())
}

/// What a directory may have as attributes.
pub(crate) fn directory() -> Attributes {
    Attributes {
        inode: ROOT,
        generation: Default::default(),
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        links: 2,
        device: 0,
        size: 0,
        allocated: Default::default(),
        accessed: Default::default(),
        modified: Default::default(),
        changed: Default::default(),
        created: Default::default(),
        change: 1,
        no_xattrs: false,
    }
}

async fn create(core: &Arc<Core>, text: &str) -> (Attributes, HandleId) {
    core.create(caller(), ROOT, name(text), 0o644, 0, READ_WRITE).await.expect("creates")
}

/// A file with these bytes, committed and closed.
async fn put_file(core: &Arc<Core>, text: &str, bytes: &[u8]) -> Inode {
    let (attributes, handle) = create(core, text).await;
    for (index, chunk) in bytes.chunks(1 << 20).enumerate() {
        core.write(handle, (index << 20) as u64, chunk).await.expect("writes");
    }
    core.fsync(handle).await.expect("commits");
    core.release(handle);
    attributes.inode
}

/// All bytes of a file, by reads of `step`.
async fn get_file(core: &Arc<Core>, inode: Inode, step: u32) -> Result<Vec<u8>, crate::FsError> {
    let handle = core.open(inode, READ_ONLY).await.expect("opens");
    let mut bytes = Vec::new();
    let result = loop {
        match core.read(handle, bytes.len() as u64, step).await {
            Ok(read) if read.is_empty() => break Ok(bytes),
            Ok(read) => bytes.extend_from_slice(&read),
            Err(error) => break Err(error),
        }
    };
    core.release(handle);
    result
}
