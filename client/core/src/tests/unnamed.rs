//! Files without a name.

use core::time::Duration;

use tokio::time::sleep;
use weft_wire::meta::MetaError;

use super::*;
use crate::FsError;

const GONE: FsError = FsError::Refused(MetaError::NotFound);

async fn make(core: &Arc<Core>) -> (Inode, HandleId) {
    let made = core.create_unnamed(caller(), ROOT, 0o666, 0o022, READ_WRITE).await;
    let (attributes, handle) = made.expect("makes");
    assert_eq!((attributes.links, attributes.mode), (0, 0o644));
    (attributes.inode, handle)
}

#[tokio::test(start_paused = true)]
async fn a_file_without_a_name_works_while_it_is_open_and_goes_then() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, handle) = make(&core).await;
    core.write(handle, 0, &pattern(5000, 1)).await.expect("writes");
    sleep(Duration::from_secs(10)).await;
    assert!(core.read(handle, 0, 5000).await.expect("reads")[..] == pattern(5000, 1)[..]);
    assert_eq!(core.attributes(inode).await.expect("it is there").links, 0);
    core.release(handle);
    core.forget(inode, 1);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(core.attributes(inode).await, Err(GONE));
}

#[tokio::test(start_paused = true)]
async fn a_link_gives_it_a_name_that_stays() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, handle) = make(&core).await;
    core.write(handle, 0, &pattern(5000, 1)).await.expect("writes");
    let linked = core.link(caller(), inode, ROOT, name("a")).await.expect("links");
    assert_eq!((linked.inode, linked.links, linked.size), (inode, 1, 5000));
    // It is no file that nobody can reach any more: what waits is written.
    core.write(handle, 5000, &[7; 10]).await.expect("writes");
    core.release(handle);
    core.forget(inode, 2);
    sleep(Duration::from_secs(10)).await;
    core.unmount(Duration::from_secs(60)).await.expect("all is written");
    let core = mount(&fake);
    assert_eq!(core.lookup(ROOT, &name("a")).await.expect("it is there").inode, inode);
    let expected = [pattern(5000, 1), vec![7; 10]].concat();
    assert!(get_file(&core, inode, 9000).await.expect("reads") == expected);
    core.unlink(caller(), ROOT, name("a")).await.expect("unlinks");
    assert_eq!(core.link(caller(), inode, ROOT, name("b")).await.map(drop), Err(GONE), "not a second time");
}

#[tokio::test(start_paused = true)]
async fn two_links_at_once_both_count() {
    let fake = Fake::new();
    let core = mount(&fake);
    let (inode, _) = make(&core).await;
    let link = |text| core.link(caller(), inode, ROOT, name(text));
    let (a, b) = tokio::join!(link("a"), link("b"));
    a.and(b).expect("both link");
    assert_eq!(core.attributes(inode).await.expect("it is there").links, 2);
}
