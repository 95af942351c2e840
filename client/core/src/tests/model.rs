//! A file behind all caches against an array of bytes, and its attributes against plain fields.

use core::time::Duration;

use proptest::option;
use proptest::prelude::*;
use tokio::time::sleep;
use weft_types::Timestamp;
use weft_wire::meta::{AllocateMode, AttributeChanges, MetaError, TimeChange};

use super::*;
use crate::{FsError, SeekWhat};

#[derive(Debug, Clone)]
enum Step {
    Write {
        offset: usize,
        len: usize,
        seed: u64,
    },
    Resize(usize),
    Allocate {
        mode: AllocateMode,
        offset: usize,
        len: usize,
    },
    /// From, to, length.
    Copy(usize, usize, usize),
    /// The first data at or behind an offset.
    Seek(usize),
    /// Mode, owner, modification time.
    Set(Option<u16>, Option<u32>, Option<u32>),
    Fsync,
    /// Time passes: old bytes are written back.
    Wait,
    /// A mount with nothing in its caches goes on.
    Remount,
    Read {
        offset: usize,
        len: usize,
    },
    /// No drive takes anything for a while, and somebody waits for that.
    Outage,
    /// A drive dies; another one, which was dead, lives again.
    Kill(u8),
}

const SPACE: usize = 600_000;

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1..200_usize, 1..10_000_usize, 1..200_000_usize];
    let mode = prop_oneof![4 => 0..0o2000_u16, 1 => 0..0o10000_u16];
    prop_oneof![
        6 => (0..SPACE, len.clone(), any::<u64>())
            .prop_map(|(offset, len, seed)| Step::Write { offset, len, seed }),
        2 => (0..SPACE).prop_map(Step::Resize),
        3 => (allocate_mode(), 0..SPACE, len.clone())
            .prop_map(|(mode, offset, len)| Step::Allocate { mode, offset, len }),
        3 => (0..SPACE, 0..SPACE, len.clone()).prop_map(|(from, to, len)| Step::Copy(from, to, len)),
        2 => (0..SPACE).prop_map(Step::Seek),
        4 => (option::of(mode), option::of(0..4_u32), option::of(any::<u32>()))
            .prop_map(|(mode, uid, time)| Step::Set(mode, uid, time)),
        2 => Just(Step::Fsync),
        1 => Just(Step::Wait),
        1 => Just(Step::Remount),
        4 => (0..SPACE, len).prop_map(|(offset, len)| Step::Read { offset, len }),
        // One group of the three has neither of these drives: it goes on taking writes.
        1 => (0..2_u8).prop_map(Step::Kill),
        1 => Just(Step::Outage),
    ]
}

fn allocate_mode() -> impl Strategy<Value = AllocateMode> {
    prop_oneof![
        Just(AllocateMode::Allocate),
        Just(AllocateMode::AllocateKeepSize),
        Just(AllocateMode::PunchHole),
        Just(AllocateMode::ZeroRange),
        Just(AllocateMode::ZeroRangeKeepSize),
    ]
}

fn time_of(seconds: u32) -> Timestamp {
    Timestamp { seconds: seconds.into(), nanos: 0 }
}

struct Run {
    fake: Arc<Fake>,
    core: Arc<Core>,
    inode: Inode,
    handle: HandleId,
    model: Vec<u8>,
    mode: u16,
    uid: u32,
    /// Unless bytes or the length changed since it was set.
    modified: Option<u32>,
}

impl Run {
    async fn new() -> Self {
        let fake = Fake::of(8);
        let core = mount(&fake);
        let (attributes, handle) = create(&core, "a").await;
        let (mode, uid) = (attributes.mode, attributes.uid);
        Self { fake, core, inode: attributes.inode, handle, model: Vec::new(), mode, uid, modified: None }
    }

    async fn apply(&mut self, step: &Step) {
        match *step {
            Step::Write { offset, len, seed } => {
                let bytes = pattern(len, seed);
                self.core.write(self.handle, offset as u64, &bytes).await.expect("writes");
                let end = self.model.len().max(offset + len);
                self.model.resize(end, 0);
                self.model[offset..offset + len].copy_from_slice(&bytes);
                self.modified = None;
            }
            Step::Set(mode, uid, time) => self.set(mode, uid, time).await,
            Step::Resize(size) => {
                let changes = AttributeChanges { size: Some(size as u64), ..AttributeChanges::default() };
                self.core.set_attributes(caller(), self.inode, changes).await.expect("resizes");
                self.model.resize(size, 0);
                self.modified = None;
            }
            Step::Allocate { mode, offset, len } => {
                self.core.allocate(self.handle, mode, offset as u64, len as u64).await.expect("allocates");
                let end = offset + len;
                if mode.extends() {
                    self.model.resize(self.model.len().max(end), 0);
                }
                let end = end.min(self.model.len());
                if mode.clears() && offset < end {
                    self.model[offset..end].fill(0);
                }
                self.modified = None;
            }
            Step::Copy(from, to, len) => self.copy(from, to, len).await,
            Step::Seek(offset) => self.seek(offset).await,
            Step::Fsync => self.core.fsync(self.handle).await.expect("commits"),
            Step::Wait => sleep(Duration::from_secs(6)).await,
            Step::Remount => {
                self.core.unmount(Duration::from_secs(100)).await.expect("all is written");
                self.core = mount(&self.fake);
                self.handle = self.core.open(self.inode, READ_WRITE).await.expect("opens");
            }
            Step::Read { offset, len } => {
                let read = self.core.read(self.handle, offset as u64, len as u32).await.expect("reads");
                let end = self.model.len().min(offset + len);
                let expected = self.model.get(offset..end).unwrap_or_default();
                assert!(read[..] == *expected, "{len} bytes at {offset}");
            }
            Step::Outage => {
                self.fake.fault_all(Fault::Dead);
                // There may be nothing to write.
                let _ = self.core.fsync(self.handle).await;
                self.shows_the_model().await;
                self.fake.fault_all(Fault::None);
                while self.core.fsync(self.handle).await.is_err() {}
            }
            Step::Kill(number) => {
                self.fake.fault_all(Fault::None);
                self.fake.fault(number, Fault::Dead);
            }
        }
        self.shows_the_model().await;
    }

    async fn copy(&mut self, from: usize, to: usize, len: usize) {
        let source = self.model.get(from..).unwrap_or_default();
        let source = source[..len.min(source.len())].to_vec();
        let handle = self.handle;
        let copied = self.core.copy_range(handle, from as u64, handle, to as u64, len as u64).await;
        if !source.is_empty() && from.abs_diff(to) < source.len() {
            assert_eq!(copied, Err(FsError::Refused(MetaError::Invalid)));
            return;
        }
        assert_eq!(copied, Ok(source.len() as u64));
        if !source.is_empty() {
            self.model.resize(self.model.len().max(to + source.len()), 0);
            self.model[to..to + source.len()].copy_from_slice(&source);
            self.modified = None;
        }
    }

    /// What is skipped on the way to data reads as zeroes, and where the data ends there is a hole.
    async fn seek(&self, offset: usize) {
        let data = self.core.seek(self.handle, offset as u64, SeekWhat::Data).await;
        let rest = self.model.get(offset..).unwrap_or_default();
        let skipped = match data {
            Ok(found) => found as usize - offset,
            Err(error) => {
                assert_eq!(error, FsError::BeyondEnd);
                rest.len()
            }
        };
        assert!(rest[..skipped].iter().all(|byte| *byte == 0), "data is found from {offset} on");
        let hole = self.core.seek(self.handle, offset as u64, SeekWhat::Hole).await;
        match hole {
            Ok(found) => {
                assert!(!rest.is_empty() && found <= self.model.len() as u64);
                assert_eq!(found == offset as u64, data != Ok(offset as u64), "a hole or data");
            }
            Err(error) => assert_eq!((error, rest.is_empty()), (FsError::BeyondEnd, true)),
        }
    }

    async fn shows_the_model(&self) {
        let shown = self.core.attributes(self.inode).await.expect("known");
        assert_eq!(shown.size, self.model.len() as u64);
        assert_eq!((shown.mode, shown.uid), (self.mode, self.uid));
        if let Some(time) = self.modified {
            assert_eq!(shown.modified, time_of(time));
        }
    }

    async fn set(&mut self, mode: Option<u16>, uid: Option<u32>, time: Option<u32>) {
        let modified = time.map(|time| TimeChange::At(time_of(time)));
        let changes = AttributeChanges { mode, uid, modified, ..AttributeChanges::default() };
        self.core.set_attributes(caller(), self.inode, changes).await.expect("changes");
        self.mode = mode.unwrap_or(self.mode);
        if let Some(uid) = uid {
            self.uid = uid;
            self.mode &= !(0o4000 | if self.mode & 0o10 != 0 { 0o2000 } else { 0 });
        }
        self.modified = time.or(self.modified);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_file_is_an_array_of_bytes(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in &steps {
                run.apply(step).await;
            }
            run.apply(&Step::Remount).await;
            run.apply(&Step::Read { offset: 0, len: SPACE * 2 }).await;
        });
    }
}
