//! What is known of extended attributes without asking.

use core::time::Duration;

use weft_wire::meta::{AttributeChanges, MetaError, MetaOp, XattrMode};

use super::*;
use crate::FsError;

const ACCESS: &[u8] = b"system.posix_acl_access";
const CAPABILITY: &[u8] = b"security.capability";
const NONE: FsError = FsError::Refused(MetaError::NoAttribute);

/// What a kernel and its programs ask of an inode that they come upon.
async fn ask_all(core: &Arc<Core>, inode: Inode) -> (Result<Vec<u8>, FsError>, Vec<Vec<u8>>) {
    assert_eq!(core.get_xattr(inode, CAPABILITY).await, Err(NONE));
    (core.get_xattr(inode, ACCESS).await, core.list_xattrs(inode).await.expect("lists"))
}

#[tokio::test(start_paused = true)]
async fn that_there_are_none_is_told_with_the_attributes() {
    let fake = Fake::new();
    let core = mount(&fake);
    for number in 0..50 {
        create(&core, &number.to_string()).await;
    }
    let core = mount(&fake);
    let listing = core.list_directory(ROOT, 0, 100, true).await.expect("lists");
    let calls = fake.calls();
    for entry in &listing.entries[2..] {
        assert_eq!(ask_all(&core, entry.inode).await, (Err(NONE), Vec::new()));
    }
    assert_eq!(fake.calls(), calls, "nobody was asked");
    let core = mount(&fake);
    let found = core.lookup(ROOT, &name("7")).await.expect("is there");
    let calls = fake.calls();
    assert_eq!(core.try_get_xattr(found.inode, ACCESS), Some(Err(NONE)));
    assert_eq!((ask_all(&core, found.inode).await, fake.calls()), ((Err(NONE), Vec::new()), calls));
}

#[tokio::test(start_paused = true)]
async fn what_is_set_and_removed_is_known_at_once() {
    let fake = Fake::new();
    let core = mount(&fake);
    let inode = put_file(&core, "a", b"bytes").await;
    let core = mount(&fake);
    core.lookup(ROOT, &name("a")).await.expect("is there");
    for _ in 0..2 {
        core.set_xattr(caller(), inode, b"user.a", b"1", XattrMode::Any, false).await.expect("sets");
        assert_eq!(core.list_xattrs(inode).await.expect("lists"), [b"user.a"]);
        assert_eq!(core.get_xattr(inode, b"user.a").await.expect("is set"), b"1");
        core.remove_xattr(caller(), inode, b"user.a").await.expect("removes");
        let calls = fake.calls();
        assert_eq!((ask_all(&core, inode).await, fake.calls()), ((Err(NONE), Vec::new()), calls));
    }
    core.set_xattr(caller(), inode, b"user.a", b"1", XattrMode::Any, false).await.expect("sets");
    let core = mount(&fake);
    core.lookup(ROOT, &name("a")).await.expect("is there");
    assert_eq!(core.get_xattr(inode, b"user.a").await.expect("is set"), b"1");
}

/// The answer to a change of the mode that was done before tells that there are none.
#[tokio::test(start_paused = true)]
async fn an_earlier_change_that_is_answered_later_hides_nothing() {
    let fake = Fake::new();
    let core = mount(&fake);
    let inode = put_file(&core, "a", b"bytes").await;
    fake.state().late = Some((Duration::from_secs(2), |op| matches!(op, MetaOp::SetAttributes { .. })));
    let changes = AttributeChanges { mode: Some(0o600), ..AttributeChanges::default() };
    let mode = core.set_attributes(caller(), inode, changes);
    let xattr = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        core.set_xattr(caller(), inode, b"user.a", b"1", XattrMode::Any, false).await
    };
    let (mode, xattr) = tokio::join!(mode, xattr);
    assert!(!mode.expect("sets").no_xattrs && xattr.is_ok());
    assert_eq!(core.get_xattr(inode, b"user.a").await.expect("is set"), b"1");
}

#[tokio::test(start_paused = true)]
async fn what_another_mount_sets_is_seen() {
    let fake = Fake::new();
    let (a, b) = (mount(&fake), mount_as(&fake, false));
    let inode = put_file(&a, "a", b"bytes").await;
    b.lookup(ROOT, &name("a")).await.expect("is there");
    assert_eq!(ask_all(&b, inode).await, (Err(NONE), Vec::new()));
    a.set_xattr(caller(), inode, b"user.a", b"1", XattrMode::Any, false).await.expect("sets");
    assert_eq!(b.get_xattr(inode, b"user.a").await.expect("is set"), b"1");
    b.remove_xattr(caller(), inode, b"user.a").await.expect("removes");
    assert_eq!(a.get_xattr(inode, b"user.a").await, Err(NONE));
}
