//! Names, attributes and handles.

use weft_wire::meta::{MetaError, MetaOp, NewNode, RenameMode, XattrMode};

use super::*;
use crate::{FsError, ListingName};

const NOT_FOUND: FsError = FsError::Refused(MetaError::NotFound);

#[tokio::test(start_paused = true)]
async fn what_the_session_knows_is_not_asked_again() {
    let fake = Fake::new();
    let core = mount(&fake);
    assert_eq!(core.lookup(ROOT, &name("a")).await, Err(NOT_FOUND));
    assert_eq!(core.try_lookup(ROOT, &name("a")), Some(Err(NOT_FOUND)));
    let (attributes, handle) = create(&core, "a").await;
    let calls = fake.calls();
    assert_eq!(core.lookup(ROOT, &name("a")).await.expect("known").inode, attributes.inode);
    assert_eq!(
        core.get_xattr(attributes.inode, b"security.capability").await,
        Err(MetaError::NoAttribute.into())
    );
    core.release(handle);
    let again = core.open(attributes.inode, READ_ONLY).await.expect("opens");
    assert_eq!(core.read(again, 0, 10).await.expect("reads").len(), 0);
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    assert_eq!(core.try_lookup(ROOT, &name("a")), Some(Err(NOT_FOUND)));
    assert_eq!(fake.calls() - calls, 1, "the removal alone");
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_in_a_directory_need_not_ask_what_became_of_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    let made = core.make_node(caller(), ROOT, name("d"), NewNode::Directory, 0o755, 0).await.expect("makes");
    let (file, _) = create(&core, "f").await;
    let (directory, here) = (made.inode, |text: &str| (ROOT, name(text)));
    let calls = fake.calls();
    create(&core, "g").await;
    core.link(caller(), file.inode, directory, name("l")).await.expect("links");
    core.rename(caller(), here("f"), (directory, name("f")), RenameMode::Replace).await.expect("moves");
    core.rename(caller(), here("g"), (directory, name("f")), RenameMode::Exchange).await.expect("exchanges");
    core.unlink(caller(), directory, name("l")).await.expect("unlinks");
    core.make_node(caller(), directory, name("e"), NewNode::Directory, 0o700, 0).await.expect("makes");
    core.remove_directory(caller(), directory, name("e")).await.expect("removes");
    assert_eq!(fake.calls() - calls, 7);
    for inode in [ROOT, directory, file.inode] {
        let known = core.try_attributes(inode).expect("it is in memory").expect("known");
        assert_eq!(known, fake.attributes(inode));
    }
    core.make_node(caller(), ROOT, name("d"), NewNode::Directory, 0o755, 0).await.expect_err("it is there");
    assert!(core.try_attributes(ROOT).is_some(), "what is refused changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_rename_and_a_link_follow_the_bytes_of_their_file() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "draft").await;
    create(&core, "final").await;
    core.write(handle, 0, b"text").await.expect("writes");
    let calls = fake.calls();
    core.rename(caller(), (ROOT, name("draft")), (ROOT, name("final")), RenameMode::Replace)
        .await
        .expect("renames");
    core.write(handle, 4, b"!").await.expect("writes");
    core.link(caller(), attributes.inode, ROOT, name("second")).await.expect("links");
    let kinds: Vec<_> = fake.state().owner.calls[calls..]
        .iter()
        .filter_map(|call| match call.op {
            MetaOp::Commit(_) => Some("commit"),
            MetaOp::Rename(_) => Some("rename"),
            MetaOp::Link { .. } => Some("link"),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["commit", "rename", "commit", "link"]);
    assert_eq!(core.try_lookup(ROOT, &name("draft")), Some(Err(NOT_FOUND)));
    for text in ["final", "second"] {
        let found = core.lookup(ROOT, &name(text)).await.expect("there");
        assert_eq!((found.inode, found.links), (attributes.inode, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn exchanged_names_stand_for_each_other_and_two_names_of_one_inode_stay() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (a, _) = create(&core, "a").await;
    let (b, _) = create(&core, "b").await;
    let at = |text: &str| (ROOT, name(text));
    core.rename(caller(), at("a"), at("b"), RenameMode::Exchange).await.expect("exchanges");
    let found = |text: &'static str| {
        let core = Arc::clone(&core);
        async move { core.lookup(ROOT, &name(text)).await.map(|attributes| attributes.inode) }
    };
    assert_eq!((found("a").await, found("b").await), (Ok(b.inode), Ok(a.inode)));
    core.link(caller(), a.inode, ROOT, name("c")).await.expect("links");
    core.rename(caller(), at("b"), at("c"), RenameMode::Replace).await.expect("does nothing");
    assert_eq!((found("b").await, found("c").await), (Ok(a.inode), Ok(a.inode)));
    core.rename(caller(), at("c"), at("d"), RenameMode::NoReplace).await.expect("moves");
    assert_eq!((found("c").await, found("d").await), (Err(NOT_FOUND), Ok(a.inode)));
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_file_works_while_it_is_open_and_goes_after() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.write(handle, 0, b"one").await.expect("writes");
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    core.forget(attributes.inode, 1);
    core.fsync(handle).await.expect("commits");
    core.write(handle, 3, b"two").await.expect("writes");
    assert_eq!(core.read(handle, 0, 10).await.expect("reads"), "onetwo");
    tokio::time::sleep(core::time::Duration::from_secs(6)).await;
    assert!(core.attributes(attributes.inode).await.is_ok(), "it is still open");
    core.release(handle);
    tokio::time::sleep(core::time::Duration::from_secs(6)).await;
    assert_eq!(core.attributes(attributes.inode).await, Err(NOT_FOUND));
    assert_eq!(core.counts().dirty_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn listings_begin_with_the_directory_and_its_parent() {
    let fake = Fake::new();
    let core = mount(&fake);
    let made = core.make_node(caller(), ROOT, name("d"), NewNode::Directory, 0o755, 0).await.expect("makes");
    for text in ["x", "y", "z"] {
        core.create(caller(), made.inode, name(text), 0o644, 0, READ_ONLY).await.expect("creates");
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = core.list_directory(made.inode, after, 2, true).await.expect("lists");
        for entry in &page.entries {
            after = entry.cookie;
            seen.push((entry.name.as_bytes().to_vec(), entry.inode));
            assert_eq!(entry.attributes.is_some(), matches!(entry.name, ListingName::Child(_)));
        }
        if page.end {
            break;
        }
    }
    assert_eq!(seen[0], (b".".to_vec(), made.inode));
    assert_eq!(seen[1], (b"..".to_vec(), ROOT));
    seen.sort();
    let names: Vec<_> = seen.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [&b"."[..], b"..", b"x", b"y", b"z"]);
}

#[tokio::test(start_paused = true)]
async fn links_and_attributes_are_what_was_set() {
    let fake = Fake::new();
    let core = mount(&fake);
    let target = NewNode::Symlink { target: b"../x".to_vec().into() };
    let link = core.make_node(caller(), ROOT, name("l"), target, 0o777, 0).await.expect("makes");
    assert_eq!(core.read_link(link.inode).await.expect("a target"), b"../x");
    let (file, _) = create(&core, "f").await;
    core.set_xattr(caller(), file.inode, b"user.a", b"1", XattrMode::Create, false).await.expect("sets");
    assert_eq!(core.get_xattr(file.inode, b"user.a").await.expect("is set"), b"1");
    assert_eq!(core.list_xattrs(file.inode).await.expect("lists"), [b"user.a"]);
    core.remove_xattr(caller(), file.inode, b"user.a").await.expect("removes");
    assert_eq!(core.get_xattr(file.inode, b"user.a").await, Err(MetaError::NoAttribute.into()));
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_file_goes_also_when_the_owner_was_away_at_that_moment() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (attributes, handle) = create(&core, "a").await;
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    core.forget(attributes.inode, 1);
    fake.state().owner_silent = true;
    tokio::time::sleep(fake::LEASE + core::time::Duration::from_secs(1)).await;
    core.release(handle);
    tokio::time::sleep(core::time::Duration::from_secs(40)).await;
    fake.state().owner_silent = false;
    tokio::time::sleep(core::time::Duration::from_secs(40)).await;
    assert_eq!(core.attributes(attributes.inode).await, Err(NOT_FOUND));
}

#[tokio::test(start_paused = true)]
async fn attributes_from_before_an_exchange_are_not_remembered_after_it() {
    let fake = Fake::new();
    let core = mount(&fake);
    create(&core, "a").await;
    let (b, _) = create(&core, "b").await;
    // An answer that was under way while the names changed places.
    let ticket = core.names.ticket(b.inode);
    let (from, to) = ((ROOT, name("a")), (ROOT, name("b")));
    core.rename(caller(), from, to, RenameMode::Exchange).await.expect("exchanges");
    core.names.remember_attributes(ticket, &b);
    let now = core.attributes(b.inode).await.expect("known");
    assert!(now.changed > b.changed && now.change > b.change);
}
