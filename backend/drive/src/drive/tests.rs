use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::store::tests::{IDENTITY, device, key, shard};
use crate::store::{DeviceFailed, Store};
use weft_device::{Fault, MemoryDevice, OnStall};

/// A device whose flushes tell that they began and wait until they may go on.
struct Gated {
    inner: Arc<MemoryDevice>,
    began: Mutex<Sender<()>>,
    may_go: Mutex<Receiver<()>>,
    on_stall: Mutex<Vec<OnStall>>,
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}

impl Gated {
    fn new(inner: Arc<MemoryDevice>, began: Sender<()>, may_go: Receiver<()>) -> Self {
        Self { inner, began: began.into(), may_go: may_go.into(), on_stall: Mutex::default() }
    }
}

impl Device for Gated {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at_once(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        let _ = threads::locked(&self.began).send(());
        // Open for good once the test has dropped its end.
        let _ = threads::locked(&self.may_go).recv();
        self.inner.flush()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.punch(range)
    }

    fn on_stall(&self, tell: OnStall) {
        threads::locked(&self.on_stall).push(tell);
    }
}

fn start(device: AnyDevice, settings: DriveSettings) -> (Drive, DriveThreads) {
    let store = Store::open(device, IDENTITY).expect("opens");
    Drive::start(store, IDENTITY, settings).expect("starts")
}

/// Stores a shard, which is under way on return.
fn put(drive: &Drive, seq: u64, len: u32) -> tokio::task::JoinHandle<Result<Stored, DriveError<PutError>>> {
    let (drive, (header, payload)) = (drive.clone(), shard(seq, len, 1));
    tokio::spawn(async move { drive.put(header, payload).await })
}

#[tokio::test]
async fn what_waits_shares_one_flush_and_reads_do_not_wait_for_it() {
    let (began, flush_began) = channel();
    let (go, may_go) = channel();
    let inner = device(16);
    let gated = Gated::new(inner.clone(), began, may_go);
    let settings = DriveSettings { writes_waiting: 9, ..DriveSettings::default() };
    let (drive, threads) = start(Arc::new(gated), settings);

    let put = |seq| put(&drive, seq, 5000);
    go.send(()).expect("the drive runs");
    put(100).await.expect("ran").expect("stored");
    flush_began.recv().expect("it was flushed");
    let before = inner.flushes();
    let first = put(0);
    tokio::task::yield_now().await;
    flush_began.recv().expect("the first put is being flushed");
    let group: Vec<_> = (1..10).map(put).collect();
    let beyond = put(10);
    let (_, stored) = shard(100, 5000, 1);
    assert!(matches!(drive.read(key(0), 0..100).await, Err(DriveError::Failed(ReadError::Absent))));
    let read = drive.read(key(100), 0..100).await.expect("read beside the flush");
    assert_eq!(read, stored.slice(..100));
    assert!(matches!(beyond.await.expect("ran"), Err(DriveError::Overloaded)));
    assert!(!first.is_finished(), "not durable yet");

    drop(go);
    assert_eq!(first.await.expect("ran").expect("stored"), Stored::Appended);
    for put in group {
        assert_eq!(put.await.expect("ran").expect("stored"), Stored::Appended);
    }
    assert_eq!(inner.flushes() - before, 2, "one for the first, one for all the others");
    let counters = drive.counters();
    assert_eq!((counters.puts, counters.gets, counters.overloaded), (11, 1, 1));
    assert_eq!(drive.report().shards, 11);
    threads.close();
}

#[tokio::test]
async fn nobody_is_told_of_success_when_the_flush_failed() {
    let device = device(16);
    let (drive, threads) = start(device.clone(), DriveSettings::default());
    device.set_fault(Fault::Flushes);
    let (header, payload) = shard(1, 100, 1);
    let refused = drive.put(header.clone(), payload.clone()).await.expect_err("not durable");
    assert!(matches!(refused, DriveError::Failed(PutError::Device(DeviceFailed::Earlier))));
    device.set_fault(Fault::None);
    let refused = drive.put(header, payload).await.expect_err("the device is not trusted any more");
    assert!(matches!(refused, DriveError::Failed(PutError::Device(_))));
    assert!(matches!(drive.delete(vec![key(1)]).await, Err(DriveError::Failed(DeleteError::Device(_)))));
    let warning = drive.report().warning.expect("somebody should know");
    assert!(warning.contains("device failed"), "{warning}");
    assert_eq!(drive.counters().puts, 0);
    threads.close();
}

#[tokio::test]
async fn a_closed_drive_says_so_and_has_kept_everything() {
    let device = device(16);
    let (drive, threads) = start(device.clone(), DriveSettings::default());
    let (header, payload) = shard(1, 100, 1);
    drive.put(header.clone(), payload.clone()).await.expect("stored");
    assert_eq!(drive.delete(vec![key(1), key(2)]).await.expect("deleted"), 1);
    assert_eq!(drive.put(header.clone(), payload.clone()).await.expect("again"), Stored::Appended);
    assert!(matches!(drive.read(key(2), 0..1).await, Err(DriveError::Failed(ReadError::Absent))));
    assert_eq!(drive.counters().not_found, 1);
    threads.close();
    assert!(matches!(drive.put(header, payload).await, Err(DriveError::Closed)));
    assert!(matches!(drive.read(key(1), 0..1).await, Err(DriveError::Closed)));

    let durable = device.after_power_loss(|| false);
    let (drive, threads) = start(Arc::new(MemoryDevice::from_bytes(durable)), DriveSettings::default());
    assert_eq!(drive.list(None, 9), [key(1)]);
    threads.close();
}

#[tokio::test]
async fn a_short_range_that_is_in_memory_is_read_at_once_and_any_other_by_the_device() {
    let device = device(16);
    let (drive, threads) = start(device.clone(), DriveSettings::default());
    let (header, payload) = shard(1, 150_000, 1);
    drive.put(header, payload.clone()).await.expect("stored");
    let short = 4160..8320_u32;
    let slice = |range: &Range<u32>| payload.slice(range.start as usize..range.end as usize);
    let opened = device.patient_reads();
    assert_eq!(drive.read(key(1), short.clone()).await.expect("read"), slice(&short));
    assert_eq!(device.patient_reads(), opened, "nobody waited for the medium");

    device.set_fault(Fault::Cold);
    assert_eq!(drive.read(key(1), short.clone()).await.expect("read"), slice(&short));
    assert!(device.patient_reads() > opened, "the device was waited for");

    // Damage is told, and counted, once.
    device.set_fault(Fault::None);
    let bytes = device.bytes();
    let place = bytes.windows(64).position(|run| run == &payload[4160..4224]).expect("on the device");
    device.damage(place, |bytes| bytes[0] ^= 1, 1);
    let refused = drive.read(key(1), short).await.expect_err("damaged");
    assert!(matches!(refused, DriveError::Failed(ReadError::Corrupt { units }) if units == [1]));
    assert_eq!((drive.usage().damage.reads, drive.counters().gets), (1, 2));
    threads.close();
}

#[tokio::test]
async fn answers_that_are_held_hold_up_further_reads() {
    let settings = DriveSettings { read_bytes: 10_000, ..DriveSettings::default() };
    let (drive, threads) = start(device(16), settings);
    let (header, payload) = shard(1, 60_000, 1);
    drive.put(header, payload).await.expect("stored");
    let held = drive.read(key(1), 0..6000).await.expect("read");
    let waiting = tokio::spawn({
        let drive = drive.clone();
        async move { drive.read(key(1), 0..6000).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        drive.shared.read_bytes.available_permits(),
        0,
        "what is left is reserved for the one that waits"
    );
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.expect("ran").expect("read");
    // More than there ever is room for goes alone instead of never.
    drive.read(key(1), 0..16_640).await.expect("read");
    threads.close();
}

#[tokio::test]
async fn items_are_durable_when_answered() {
    let device = device(16);
    let (drive, threads) = start(device.clone(), DriveSettings::default());
    let keys = ["a/1", "a/2", "b"].map(|key| ItemKey::new(key.as_bytes()).expect("short"));
    for key in &keys {
        drive.put_item(key.clone(), Bytes::from(vec![7; 5000])).await.expect("stored");
    }
    drive.put_item(keys[0].clone(), Bytes::from_static(b"new")).await.expect("replaced");
    assert_eq!(drive.delete_items(vec![keys[1].clone(), keys[1].clone()]).await.expect("deleted"), 1);
    let durable = device.after_power_loss(|| false);
    threads.close();
    assert!(matches!(drive.read_item(keys[0].clone()).await, Err(DriveError::Closed)));

    let (drive, threads) = start(Arc::new(MemoryDevice::from_bytes(durable)), DriveSettings::default());
    assert_eq!(drive.list_items(b"a/", None, 9), [(keys[0].clone(), 3)]);
    assert_eq!(drive.read_item(keys[0].clone()).await.expect("there"), b"new"[..]);
    let absent = drive.read_item(keys[1].clone()).await.expect_err("deleted");
    assert!(matches!(absent, DriveError::Failed(ReadError::Absent)));
    assert_eq!((drive.usage().items, drive.counters().not_found), (2, 1));
    threads.close();
}

#[tokio::test]
async fn bytes_that_wait_to_be_written_are_bounded() {
    let settings = DriveSettings { write_bytes: 30_000, ..DriveSettings::default() };
    let (began, flush_began) = channel();
    let (go, may_go) = channel();
    let gated = Gated::new(device(16), began, may_go);
    let (drive, threads) = start(Arc::new(gated), settings);
    let put = |seq| put(&drive, seq, 60_000);
    let first = put(0);
    tokio::task::yield_now().await;
    flush_began.recv().expect("it is being flushed");
    assert!(matches!(put(1).await.expect("ran"), Err(DriveError::Overloaded)), "two are more than 30 kB");
    drop(go);
    first.await.expect("ran").expect("stored");
    put(1).await.expect("ran").expect("there is room again");
    threads.close();
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_answer_is_not_waited_for_forever() {
    let (began, flush_began) = channel();
    let (go, may_go) = channel();
    let gated = Gated::new(device(16), began, may_go);
    let (drive, threads) = start(Arc::new(gated), DriveSettings::default());
    let (header, payload) = shard(1, 100, 1);
    let unknown = drive.put(header, payload).await.expect_err("nobody knows");
    assert!(matches!(unknown, DriveError::Closed));
    flush_began.recv().expect("it hangs in the flush");
    let warning = drive.report().warning.expect("somebody should know");
    assert!(warning.contains("60 seconds"), "{warning}");
    drop(go);
    threads.close();
}

#[tokio::test]
async fn a_medium_without_space_says_so_and_takes_what_comes_when_it_has_some() {
    let medium = device(16);
    let (drive, threads) = start(medium.clone(), DriveSettings::default());
    let put = |seq| {
        let (header, payload) = shard(seq, 5000, 1);
        drive.put(header, payload)
    };
    put(0).await.expect("stored");
    medium.set_fault(Fault::Writes);
    let refused = put(1).await.expect_err("no space");
    let DriveError::Failed(PutError::Device(DeviceFailed::Now(cause))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(cause.kind(), io::ErrorKind::StorageFull, "the caller is told that it is space that lacks");
    assert_eq!(drive.report().warning, None);
    medium.set_fault(Fault::None);
    put(1).await.expect("there is room again");
    threads.close();
}

#[tokio::test]
async fn who_waits_for_a_device_that_holds_up_the_writer_is_told_and_nothing_more_is_taken() {
    let (began, flush_began) = channel();
    let (go, may_go) = channel();
    let gated = Arc::new(Gated::new(device(16), began, may_go));
    let (drive, threads) = start(gated.clone(), DriveSettings::default());
    let put = |seq| put(&drive, seq, 5000);
    go.send(()).expect("the drive runs");
    put(100).await.expect("ran").expect("stored");
    flush_began.recv().expect("it was flushed");
    let first = put(0);
    tokio::task::yield_now().await;
    flush_began.recv().expect("the first put is being flushed");
    let second = put(1);
    tokio::task::yield_now().await;
    threads::locked(&gated.on_stall).iter().for_each(|tell| tell());
    assert!(matches!(first.await.expect("ran"), Err(DriveError::Closed)), "nothing is known of it");
    assert!(matches!(second.await.expect("ran"), Err(DriveError::Closed)), "nor of what waits behind it");
    assert!(matches!(put(2).await.expect("ran"), Err(DriveError::Closed)));
    let (_, stored) = shard(100, 5000, 1);
    assert_eq!(drive.read(key(100), 0..100).await.expect("reads go on"), stored.slice(..100));
    assert!(drive.report().warning.expect("somebody should know").contains("does not answer"));
    // The thread is left behind: this would not return otherwise.
    threads.close();
    drop(go);
}

#[tokio::test]
async fn a_group_of_several_runtimes_is_answered_on_all_of_them() {
    let (began, flush_began) = channel();
    let (go, may_go) = channel();
    let (drive, threads) = start(Arc::new(Gated::new(device(16), began, may_go)), DriveSettings::default());
    let put = |seq| {
        let (drive, (header, payload)) = (drive.clone(), shard(seq, 5000, 1));
        async move { drive.put(header, payload).await }
    };
    let first = tokio::spawn(put(0));
    tokio::task::yield_now().await;
    flush_began.recv().expect("the first put is being flushed");
    let here: Vec<_> = (1..4).map(put).map(tokio::spawn).collect();
    tokio::task::yield_now().await;
    let (put, (done, elsewhere)) = (put(4), channel());
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let put = tokio::spawn(put);
            tokio::task::yield_now().await;
            done.send(()).expect("waits");
            put.await.expect("ran").expect("stored")
        })
    });
    elsewhere.recv().expect("it waits too");
    drop(go);
    first.await.expect("ran").expect("stored");
    for put in here {
        put.await.expect("ran").expect("stored");
    }
    assert_eq!(other.join().expect("ran"), Stored::Appended);
    threads.close();
}
