//! Several mounts of one filesystem: what one has done, the others see.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::time::{Duration, sleep};
use weft_wire::meta::{AttributeChanges, FileKind, MetaError, RenameMode};

use super::*;
use crate::FsError;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What is done through one of the mounts.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Write { name: u8, offset: u16, len: u16 },
    Truncate { name: u8, size: u16 },
    Chmod { name: u8, mode: u16 },
    Unlink(u8),
    Rename { from: u8, to: u8 },
    Look(u8),
    Sync(u8),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len() as u8;
    prop_oneof![
        3 => name.clone().prop_map(Step::Create),
        6 => (name.clone(), 0..9000_u16, 1..9000_u16).prop_map(|(name, offset, len)| Step::Write { name, offset, len }),
        1 => (name.clone(), 0..9000_u16).prop_map(|(name, size)| Step::Truncate { name, size }),
        1 => (name.clone(), 0..0o1000_u16).prop_map(|(name, mode)| Step::Chmod { name, mode }),
        1 => name.clone().prop_map(Step::Unlink),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename { from, to }),
        6 => name.clone().prop_map(Step::Look),
        1 => name.prop_map(Step::Sync),
        1 => Just(Step::Wait),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    mode: u16,
    bytes: Vec<u8>,
}

/// What there is, by name.
type Model = BTreeMap<u8, Known>;

fn text(number: u8) -> Name {
    name(NAMES[usize::from(number)])
}

async fn found(core: &Arc<Core>, number: u8) -> Option<Attributes> {
    match core.lookup(ROOT, &text(number)).await {
        Ok(attributes) => Some(attributes),
        Err(FsError::Refused(MetaError::NotFound)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A name through one mount is what it is in the model.
async fn look(core: &Arc<Core>, number: u8, model: &Model) {
    let attributes = found(core, number).await;
    let expected = model.get(&number);
    assert_eq!(attributes.is_some(), expected.is_some(), "whether {number} is there");
    let (Some(attributes), Some(expected)) = (attributes, expected) else { return };
    let size = expected.bytes.len() as u64;
    assert_eq!((attributes.mode, attributes.size), (expected.mode, size), "attributes of {number}");
    assert_eq!(core.attributes(attributes.inode).await.expect("known").size, size);
    assert_eq!(get_file(core, attributes.inode, 1 << 20).await.expect("reads"), expected.bytes, "{number}");
}

async fn take(core: &Arc<Core>, step: &Step, seed: u64, model: &mut Model) {
    match *step {
        Step::Create(name) => {
            let made = core.create(caller(), ROOT, text(name), 0o644, 0, READ_WRITE).await;
            assert_eq!(made.is_ok(), !model.contains_key(&name), "{made:?}");
            model.entry(name).or_insert_with(|| Known { mode: 0o644, bytes: Vec::new() });
            if let Ok((_, handle)) = made {
                core.release(handle);
            }
        }
        Step::Write { name, offset, len } => {
            let Some(known) = model.get_mut(&name) else { return };
            let inode = found(core, name).await.expect("is there").inode;
            let handle = core.open(inode, READ_WRITE).await.expect("opens");
            let bytes = pattern(len.into(), seed);
            core.write(handle, offset.into(), &bytes).await.expect("writes");
            core.release(handle);
            let end = usize::from(offset) + bytes.len();
            known.bytes.resize(known.bytes.len().max(end), 0);
            known.bytes[offset.into()..end].copy_from_slice(&bytes);
        }
        Step::Truncate { name, size } => {
            let Some(known) = model.get_mut(&name) else { return };
            let inode = found(core, name).await.expect("is there").inode;
            let changes = AttributeChanges { size: Some(size.into()), ..AttributeChanges::default() };
            core.set_attributes(caller(), inode, changes).await.expect("sets the length");
            known.bytes.resize(size.into(), 0);
        }
        Step::Chmod { name, mode } => {
            let Some(known) = model.get_mut(&name) else { return };
            let inode = found(core, name).await.expect("is there").inode;
            let changes = AttributeChanges { mode: Some(mode), ..AttributeChanges::default() };
            core.set_attributes(caller(), inode, changes).await.expect("sets the mode");
            known.mode = mode;
        }
        Step::Unlink(name) => {
            let removed = core.unlink(caller(), ROOT, text(name)).await;
            assert_eq!(removed.is_ok(), model.remove(&name).is_some(), "{removed:?}");
        }
        Step::Rename { from, to } => {
            let moved =
                core.rename(caller(), (ROOT, text(from)), (ROOT, text(to)), RenameMode::Replace).await;
            assert_eq!(moved.is_ok(), model.contains_key(&from), "{moved:?}");
            if let Some(known) = model.get(&from).cloned().filter(|_| from != to) {
                model.remove(&from);
                model.insert(to, known);
            }
        }
        Step::Look(name) => look(core, name, model).await,
        Step::Sync(name) => {
            let Some(attributes) = found(core, name).await else { return };
            let handle = core.open(attributes.inode, READ_ONLY).await.expect("opens");
            core.fsync(handle).await.expect("commits");
            core.release(handle);
        }
        Step::Wait => sleep(Duration::from_secs(2)).await,
    }
}

async fn run(steps: &[(u8, Step)]) {
    let fake = Fake::new();
    let mounts = [mount(&fake), mount_as(&fake, false), mount_as(&fake, false)];
    let mut model = Model::new();
    for (seed, (mount, step)) in steps.iter().enumerate() {
        take(&mounts[usize::from(*mount)], step, seed as u64, &mut model).await;
    }
    for core in &mounts {
        for name in 0..NAMES.len() as u8 {
            look(core, name, &model).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_one_mount_has_done_the_others_see(steps in proptest::collection::vec((0..3_u8, step()), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(&steps));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_mount_removes_goes_on_where_it_is_open() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let inode = put_file(&a, NAMES[0], b"before").await;
    b.forget(found(&b, 0).await.expect("is there").inode, 1);
    let handle = b.open(inode, READ_WRITE).await.expect("opens");
    a.unlink(caller(), ROOT, text(0)).await.expect("unlinks");
    a.forget(inode, 1);
    assert_eq!(found(&b, 0).await, None);
    assert_eq!(&b.read(handle, 0, 100).await.expect("reads")[..], b"before");
    b.write(handle, 6, b" and after").await.expect("writes");
    b.fsync(handle).await.expect("commits");
    assert_eq!(b.attributes(inode).await.expect("is there").links, 0);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(&b.read(handle, 0, 100).await.expect("reads")[..], b"before and after");
    b.release(handle);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(b.attributes(inode).await, Err(FsError::Refused(MetaError::NotFound)), "it was collected");
}

/// Who wants to remove a directory has it forgotten elsewhere, with its names: it is not told when these change.
#[tokio::test(start_paused = true)]
async fn names_in_a_directory_that_could_not_be_removed_are_asked_for_anew() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let folder = weft_wire::meta::NewNode::Directory;
    let folder = a.make_node(caller(), ROOT, name("d"), folder, 0o755, 0).await.expect("makes").inode;
    let inode = put_file(&a, "f", b"x").await;
    b.link(caller(), inode, folder, name("g")).await.expect("links");
    let refused = a.remove_directory(caller(), ROOT, name("d")).await;
    assert_eq!(refused, Err(FsError::Refused(MetaError::NotEmpty)));
    a.unlink(caller(), folder, name("g")).await.expect("unlinks");
    assert_eq!(b.lookup(folder, &name("g")).await, Err(FsError::Refused(MetaError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_is_alone_again_asks_nobody() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let (attributes, handle) = create(&a, "f").await;
    assert_eq!(found(&b, 0).await, None);
    assert!(a.is_shared() && b.is_shared());
    b.unmount(Duration::from_secs(1)).await.expect("is clean");
    sleep(Duration::from_secs(10)).await;
    assert!(!a.is_shared());
    a.write(handle, 0, b"bytes").await.expect("writes");
    a.fsync(handle).await.expect("commits");
    let calls = fake.calls();
    a.lookup(ROOT, &name("f")).await.expect("is there");
    a.lookup(ROOT, &name("f")).await.expect("is there");
    assert_eq!(attributes.kind, FileKind::File);
    assert!(fake.calls() - calls <= 1, "what was told is remembered");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_when_another_mount_came_is_seen_by_it() {
    let fake = Fake::new();
    let a = mount(&fake);
    let (attributes, handle) = create(&a, "f").await;
    a.write(handle, 0, b"not committed").await.expect("writes");
    let b = mount_as(&fake, false);
    assert_eq!(get_file(&b, attributes.inode, 100).await.expect("reads"), b"not committed");
    a.write(handle, 0, b"NOT").await.expect("writes");
    assert_eq!(get_file(&b, attributes.inode, 100).await.expect("reads"), b"NOT committed");
}

#[tokio::test(start_paused = true)]
async fn two_mounts_that_write_one_file_at_once_lose_nothing() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let (attributes, _) = create(&a, "f").await;
    let mut writers = Vec::new();
    for (mount, core) in [a, b].into_iter().enumerate() {
        let append = OpenMode { append: true, ..READ_WRITE };
        let handle = core.open(attributes.inode, append).await.expect("opens");
        writers.push(tokio::spawn(async move {
            for _ in 0..50 {
                core.write(handle, 0, &[b'0' + mount as u8; 7]).await.expect("writes");
            }
            core
        }));
    }
    let mut mounts = Vec::new();
    for writer in writers {
        mounts.push(writer.await.expect("ends"));
    }
    let bytes = get_file(&mounts[0], attributes.inode, 1 << 20).await.expect("reads");
    assert_eq!(bytes.len(), 2 * 50 * 7, "each appended behind the other");
    assert!(bytes.chunks(7).all(|part| part == [part[0]; 7]));
}
