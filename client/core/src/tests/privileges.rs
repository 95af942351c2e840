//! Set-user-id, set-group-id, and access lists.

use weft_wire::meta::{AttributeChanges, MetaOp, NewNode, XattrMode};

use super::*;
use crate::FsError;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

fn mode(mode: u16) -> AttributeChanges {
    AttributeChanges { mode: Some(mode), ..AttributeChanges::default() }
}

/// A list of the owner, user 1000, the group, a mask and others.
fn list(owner: u8, user: u8, group: u8, mask: u8, other: u8) -> Vec<u8> {
    let none = u32::MAX;
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1, owner, none), (2, user, 1000), (4, group, none), (16, mask, none), (32, other, none)]
    {
        bytes.extend([tag, 0, permissions, 0]);
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn privileges_are_taken_off_once_and_nobody_is_asked_for_nothing() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"x").await.expect("writes");
    core.set_attributes(caller(), attributes.inode, mode(0o6755)).await.expect("sets");
    assert_eq!(core.try_kill_privileges(caller(), attributes.inode), None);
    core.kill_privileges(caller(), attributes.inode).await.expect("takes them off");
    assert_eq!(core.attributes(attributes.inode).await.expect("known").mode, 0o755);
    let calls = fake.calls();
    assert_eq!(core.try_kill_privileges(caller(), attributes.inode), Some(Ok(())));
    core.kill_privileges(caller(), attributes.inode).await.expect("nothing to do");
    assert_eq!(fake.calls(), calls);
    core.set_attributes(caller(), attributes.inode, mode(0o2644)).await.expect("sets");
    assert_eq!(core.try_kill_privileges(caller(), attributes.inode), Some(Ok(())), "of its group");
    let stranger = Caller { uid: 5, gid: 5 };
    let cut = AttributeChanges { size: Some(0), kill_privileges: true, ..AttributeChanges::default() };
    let cut = core.set_attributes(stranger, attributes.inode, cut).await.expect("shortens");
    assert_eq!((cut.mode, cut.size), (0o644, 0));
}

#[tokio::test(start_paused = true)]
async fn a_mode_and_an_access_list_keep_their_order_while_bytes_wait() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    let inode = attributes.inode;
    core.write(handle, 0, b"x").await.expect("writes");
    core.set_attributes(caller(), inode, mode(0o600)).await.expect("waits with the bytes");
    core.set_xattr(caller(), inode, ACCESS, &list(6, 7, 5, 7, 0), XattrMode::Any, false).await.expect("sets");
    assert_eq!(core.attributes(inode).await.expect("known").mode, 0o670);
    core.write(handle, 0, b"y").await.expect("writes");
    core.set_attributes(caller(), inode, mode(0o640)).await.expect("sets");
    let found = core.get_xattr(inode, ACCESS).await.expect("is there");
    assert_eq!(found, list(6, 7, 5, 4, 0), "the mask follows");
    assert_eq!(core.attributes(inode).await.expect("known").mode, 0o640);
    core.remove_xattr(caller(), inode, ACCESS).await.expect("removes");
    assert_eq!(core.list_xattrs(inode).await.expect("lists").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_below_a_default_list_is_known_to_have_one() {
    let fake = Fake::new();
    let core = mount(&fake);
    let asked = |fake: &Fake| {
        let lists = |call: &&weft_wire::compute::Meta| matches!(call.op, MetaOp::ListXattrs { .. });
        fake.state().owner.calls.iter().filter(lists).count()
    };
    let directory = core.make_node(caller(), ROOT, name("d"), NewNode::Directory, 0o777, 0o022).await;
    let directory = directory.expect("makes");
    assert_eq!(directory.mode, 0o755);
    let default = list(7, 6, 5, 7, 1);
    core.set_xattr(caller(), directory.inode, DEFAULT, &default, XattrMode::Any, false).await.expect("sets");
    let made = core.create(caller(), directory.inode, name("f"), 0o666, 0o077, READ_WRITE).await;
    let (made, _) = made.expect("creates");
    assert_eq!(made.mode, 0o660);
    assert_eq!(core.get_xattr(made.inode, ACCESS).await, Ok(list(6, 6, 5, 6, 0)));
    let unnamed = core.create_unnamed(caller(), directory.inode, 0o666, 0, READ_WRITE).await;
    assert_eq!(core.get_xattr(unnamed.expect("creates").0.inode, ACCESS).await, Ok(list(6, 6, 5, 6, 0)));
    let before = asked(&fake);
    let (plain, _) = create(&core, "plain").await;
    let none = Err(FsError::Refused(weft_wire::meta::MetaError::NoAttribute));
    assert_eq!(core.get_xattr(plain.inode, ACCESS).await, none);
    assert_eq!(asked(&fake), before, "what has none is known to have none");
}
