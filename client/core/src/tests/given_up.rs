//! What was made for somebody who does not wait for it any more.

use core::time::Duration;

use tokio::time::{sleep, timeout};
use weft_wire::meta::{MetaError, MetaOp, NewNode};

use super::*;
use crate::FsError;

const GONE: FsError = FsError::Refused(MetaError::NotFound);
/// Longer than a caller waits.
const LATE: Duration = Duration::from_secs(40);

const fn makes(op: &MetaOp) -> bool {
    matches!(op, MetaOp::MakeNode(_) | MetaOp::MakeUnnamed(_) | MetaOp::Link { .. })
}

/// A mount whose owner takes its time to answer.
fn slow() -> (Arc<Fake>, Arc<Core>) {
    let fake = Fake::new();
    let core = mount(&fake);
    fake.state().late = Some((LATE, makes));
    (fake, core)
}

#[tokio::test(start_paused = true)]
async fn no_reference_is_left_of_what_came_too_late() {
    let (fake, core) = slow();
    let made = core.create(caller(), ROOT, name("f"), 0o644, 0, READ_WRITE).await;
    assert_eq!(made, Err(FsError::TimedOut));
    let made = core.make_node(caller(), ROOT, name("d"), NewNode::Directory, 0o755, 0).await;
    assert_eq!(made, Err(FsError::TimedOut));
    let made = core.create_unnamed(caller(), ROOT, 0o644, 0, READ_WRITE).await;
    assert_eq!(made, Err(FsError::TimedOut));
    sleep(LATE).await;
    assert_eq!(core.references.all(), []);
    fake.state().late = None;
    let file = core.lookup(ROOT, &name("f")).await.expect("it was made").inode;
    fake.state().late = Some((LATE, makes));
    assert_eq!(core.link(caller(), file, ROOT, name("l")).await, Err(FsError::TimedOut));
    sleep(LATE).await;
    core.forget(file, 1);
    assert_eq!(core.references.all(), []);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waited_for_goes_with_its_last_name() {
    let (fake, core) = slow();
    let create = core.create(caller(), ROOT, name("f"), 0o644, 0, READ_WRITE);
    assert!(timeout(Duration::from_secs(1), create).await.is_err(), "the caller is gone");
    let unnamed = core.create_unnamed(caller(), ROOT, 0o644, 0, READ_WRITE);
    assert!(timeout(Duration::from_secs(1), unnamed).await.is_err(), "the caller is gone");
    sleep(2 * LATE).await;
    let file = core.lookup(ROOT, &name("f")).await.expect("it was made").inode;
    core.forget(file, 1);
    core.unlink(caller(), ROOT, name("f")).await.expect("unlinks");
    sleep(Duration::from_secs(10)).await;
    for inode in [file, Inode::new(file.get() + 1)] {
        assert_eq!(core.attributes(inode).await, Err(GONE));
    }
    drop(fake);
}

#[tokio::test(start_paused = true)]
async fn no_reference_is_left_of_what_could_not_be_opened() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (first, handle) = create(&core, "a").await;
    let mut handles = vec![handle];
    while let Ok(handle) = core.open(first.inode, READ_ONLY).await {
        handles.push(handle);
    }
    let full = Err(FsError::TooManyHandles);
    assert_eq!(core.create(caller(), ROOT, name("b"), 0o644, 0, READ_WRITE).await, full);
    assert_eq!(core.create_unnamed(caller(), ROOT, 0o644, 0, READ_WRITE).await, full);
    assert_eq!(core.references.all(), [first.inode]);
    handles.into_iter().for_each(|handle| core.release(handle));
    core.create(caller(), ROOT, name("c"), 0o644, 0, READ_WRITE).await.expect("there is room again");
}
