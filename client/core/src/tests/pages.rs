//! A kernel in front of a mount, which keeps pages: they are gone before another mount's change is answered.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Duration, timeout};
use weft_wire::meta::{MetaError, XattrMode};

use super::*;
use crate::{FsError, KernelCache};

const CAPABILITIES: &[u8] = b"security.capability";
const SOON: Duration = Duration::from_secs(20);
const APPEND: OpenMode = OpenMode { read: true, write: true, append: true, sync: false };

async fn read(core: &Arc<Core>, handle: HandleId) -> Vec<u8> {
    core.read(handle, 0, 100).await.expect("reads").to_vec()
}

/// One page of one file. It is locked while a request for it is under way, as Linux has it.
#[derive(Default)]
struct Kernel {
    locked: tokio::sync::Mutex<()>,
    page: Mutex<Option<Vec<u8>>>,
}

impl Kernel {
    fn page(&self) -> Option<Vec<u8>> {
        self.page.lock().expect("no test panicked here").clone()
    }

    async fn write(&self, core: &Arc<Core>, handle: HandleId, bytes: &[u8]) {
        let _locked = self.locked.lock().await;
        core.write(handle, 0, bytes).await.expect("writes");
        *self.page.lock().expect("no test panicked here") = Some(bytes.to_vec());
    }

    async fn read(&self, core: &Arc<Core>, handle: HandleId) -> Vec<u8> {
        let _locked = self.locked.lock().await;
        if let Some(page) = self.page() {
            return page;
        }
        let bytes = read(core, handle).await;
        *self.page.lock().expect("no test panicked here") = Some(bytes.clone());
        bytes
    }
}

impl KernelCache for Kernel {
    fn forget_names(&self) -> bool {
        true
    }

    fn forget_attributes(&self, _: Inode) {}

    fn forget_data(&self, _: Inode) {
        let _locked = self.locked.blocking_lock();
        *self.page.lock().expect("no test panicked here") = None;
    }
}

#[tokio::test]
async fn a_page_that_is_read_and_written_all_the_time_is_given_up_all_the_same() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let kernel = Arc::new(Kernel::default());
    a.serve_kernel(Arc::clone(&kernel) as _);
    let inode = put_file(&b, "f", b"0").await;
    let (of_a, of_b) = (a.open(inode, READ_WRITE).await, b.open(inode, READ_WRITE).await);
    let (of_a, of_b) = (of_a.expect("opens"), of_b.expect("opens"));
    assert!(!a.is_direct(of_a) && b.is_direct(of_b), "pages are kept where it was open first");
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let (stop, kernel, a) = (Arc::clone(&stop), Arc::clone(&kernel), Arc::clone(&a));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                kernel.write(&a, of_a, b"of a").await;
                kernel.read(&a, of_a).await;
            }
        })
    };
    for round in 0..10_u8 {
        timeout(SOON, b.write(of_b, 0, &[b'b', round])).await.expect("soon").expect("writes");
        let bytes = timeout(SOON, read(&b, of_b)).await.expect("soon");
        assert!(bytes.starts_with(b"of a") || bytes.starts_with(&[b'b', round]), "{bytes:?}");
    }
    stop.store(true, Ordering::Relaxed);
    busy.await.expect("runs");
    for round in 0..5_u8 {
        kernel.write(&a, of_a, &[b'a', round]).await;
        assert!(read(&b, of_b).await.starts_with(&[b'a', round]));
        b.write(of_b, 0, &[b'b', round]).await.expect("writes");
        assert_eq!(kernel.page(), None, "what another mount wrote is in no page");
        assert!(kernel.read(&a, of_a).await.starts_with(&[b'b', round]));
    }
    assert!(!a.has_ended() && !b.has_ended());
}

#[tokio::test(start_paused = true)]
async fn who_opens_for_writing_beside_a_writer_goes_around_pages() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let (attributes, first) = create(&a, "f").await;
    let inode = attributes.inode;
    assert!(!a.is_direct(first), "nobody else has it open");
    let reader = b.open(inode, READ_ONLY).await.expect("opens");
    assert!(!b.is_direct(reader), "it does not write");
    let second = b.open(inode, READ_WRITE).await.expect("opens");
    assert!(b.is_direct(second));
    a.release(first);
    let third = b.open(inode, READ_WRITE).await.expect("opens");
    assert!(!b.is_direct(third), "nobody else has it open any more");
    let fourth = a.open(inode, READ_WRITE).await.expect("opens");
    assert!(a.is_direct(fourth));
    let end = b.open(inode, APPEND).await.expect("opens");
    assert!(b.is_direct(end), "where its end is only core knows");
    b.release(second);
    b.release(third);
    b.release(end);
    let both = tokio::join!(a.open(inode, READ_WRITE), b.open(inode, READ_WRITE));
    let (of_a, of_b) = (both.0.expect("opens"), both.1.expect("opens"));
    assert!(b.is_direct(of_b), "the other one has it open: {}", a.is_direct(of_a));
}

#[tokio::test(start_paused = true)]
async fn a_write_around_pages_takes_capabilities_off() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let (attributes, _open) = create(&a, "f").await;
    let inode = attributes.inode;
    let direct = b.open(inode, READ_WRITE).await.expect("opens");
    for _ in 0..2 {
        b.write(direct, 0, b"x").await.expect("writes");
        let set = a.set_xattr(caller(), inode, CAPABILITIES, b"power", XattrMode::Any, false);
        set.await.expect("sets");
        assert_eq!(b.get_xattr(inode, CAPABILITIES).await.as_deref(), Ok(&b"power"[..]));
        if let Some(written) = b.try_write(direct, 0, b"y") {
            panic!("{written:?} with capabilities");
        }
        b.write(direct, 0, b"y").await.expect("writes");
        let gone = FsError::Refused(MetaError::NoAttribute);
        assert_eq!(a.get_xattr(inode, CAPABILITIES).await, Err(gone));
    }
}
