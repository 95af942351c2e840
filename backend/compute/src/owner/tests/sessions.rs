use weft_meta::{RowKey, Transaction};

use super::*;

fn later() -> Instant {
    Instant::now() + LEASE + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn any_number_of_sessions_write_and_read() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut writers = Vec::new();
    for number in 0..2 {
        let mut writer = Frontend::attach(&owner).await;
        writers.iter_mut().for_each(|other: &mut Frontend| drop(placed(&owner, &other.call(unlink("none")))));
        writer.ask(&owner, create(&number.to_string())).await.expect("makes");
        writers.push(writer);
    }
    let mut reader = Frontend { session: attach(&owner, &asked(true)).await.expect("opens"), seq: 0 };
    writers.iter_mut().for_each(|other| drop(placed(&owner, &other.call(unlink("none")))));
    assert_eq!(reader.ask(&owner, create("a")).await, Err(MetaError::ReadOnly));
    reader.ask(&owner, MetaOp::GetAttributes { inode: Inode::ROOT }).await.expect("reads");
    assert_eq!(owner.session_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_replaced_only_by_its_own_node() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let first = attach(&owner, &asked(false)).await.expect("opens");
    let call = OpenSession { replaces: Some(first), ..asked(false) };
    let other = NodeId::from_bytes([0xee; 16]);
    let refused = owner.open_session(other, &call, fresh_session(), Instant::now()).expect("no fault");
    assert_eq!(refused, SessionOpening::Refused(OpenRefusal::NotYours));
    assert_eq!(owner.renew_session(NODE, first, Instant::now()), Ok(true));
    let second = attach(&owner, &call).await.expect("opens");
    assert_ne!(first, second);
    assert_eq!(owner.renew_session(NODE, first, Instant::now()), Ok(false));
    let mut ended = Frontend { session: first, seq: 0 };
    assert_eq!(ended.ask(&owner, create("late")).await, Err(MetaError::SessionEnded));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_node_s_alone() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let other = NodeId::from_bytes([0xee; 16]);
    for op in [create("a"), MetaOp::GetAttributes { inode: Inode::ROOT }] {
        let stolen = meta(&owner, other, &frontend.call(op)).await;
        assert_eq!(stolen, Ok(Err(MetaError::SessionEnded)));
    }
    assert_eq!(owner.renew_session(other, frontend.session, Instant::now()), Ok(false));
    assert_eq!(owner.close_session(other, frontend.session, Instant::now()), Ok(None));
    frontend.ask(&owner, create("a")).await.expect("made");
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_is_over_and_its_orphans_are_collected() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let orphan = inode_of(&frontend.ask(&owner, create("open and deleted")).await.expect("made"));
    frontend.ask(&owner, unlink("open and deleted")).await.expect("removed");
    frontend.ask(&owner, MetaOp::GetAttributes { inode: orphan }).await.expect("open files live on");

    owner.expire(Instant::now()).expect("expires nothing");
    assert_eq!(owner.session_count(), 1);
    let nearly = Instant::now() + LEASE - Duration::from_secs(1);
    assert_eq!(owner.renew_session(NODE, frontend.session, nearly), Ok(true));
    owner.expire(later()).expect("expires nothing: it was renewed");
    assert_eq!(owner.session_count(), 1);
    owner.expire(nearly + LEASE).expect("expires");
    assert_eq!(owner.session_count(), 0);
    assert_eq!(owner.renew_session(NODE, frontend.session, Instant::now()), Ok(false));
    assert_eq!(frontend.ask(&owner, lookup("x")).await, Err(MetaError::SessionEnded));

    while owner.work().expect("works").is_some() {}
    let left = |key: RowKey| owner.read(|tx| tx.get(&key)).expect("reads");
    assert_eq!(left(RowKey::Inode(orphan)), None);
    assert_eq!(left(RowKey::Orphan { session: frontend.session, inode: orphan }), None);
    assert_eq!(left(RowKey::Slot { session: frontend.session, slot: SlotId::new(3) }), None);
    let mut next = Frontend::attach(&owner).await;
    assert_eq!(next.ask(&owner, MetaOp::GetAttributes { inode: orphan }).await, Err(MetaError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_after_the_end_of_the_lease_comes_too_late() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let session = attach(&owner, &asked(false)).await.expect("opens");
    assert_eq!(owner.renew_session(NODE, session, later()), Ok(false));
    let opened = owner.open_session(NODE, &asked(false), fresh_session(), later()).expect("no fault");
    assert!(matches!(opened, SessionOpening::Opened { .. }), "who is overdue is in nobody's way: {opened:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_is_over_and_so_it_stays() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let session = attach(&owner, &asked(false)).await.expect("opens");
    let closed = owner.close_session(NODE, session, Instant::now()).expect("no fault").expect("was open");
    owner.durable(closed).await.expect("durable");
    assert_eq!(owner.close_session(NODE, session, Instant::now()), Ok(None));
    owner.close().await;
    let owner = bench.open(2).await;
    assert_eq!((owner.session_count(), owner.renew_session(NODE, session, Instant::now())), (0, Ok(false)));
}

#[tokio::test(start_paused = true)]
async fn a_filesystem_with_a_session_is_not_dropped() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let session = attach(&owner, &asked(true)).await.expect("opens");
    assert_eq!(owner.try_begin_dropping(), Ok(Some(asked(true).holder)));
    assert!(!owner.is_dropping());
    owner.close_session(NODE, session, Instant::now()).expect("closes");
    assert_eq!(owner.try_begin_dropping(), Ok(None));
    assert_eq!(attach(&owner, &asked(true)).await, Err(OpenRefusal::Deleting));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_tells_too_much_is_refused() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut call = asked(false);
    call.holder.mount = "m".repeat(5000);
    assert_eq!(owner.open_session(NODE, &call, fresh_session(), Instant::now()), Err(Fault::Malformed));
}

#[tokio::test(start_paused = true)]
async fn only_sessions_that_both_sides_know_outlast_a_takeover() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let known = attach(&owner, &asked(true)).await.expect("opens");
    let unknown = attach(&owner, &asked(true)).await.expect("opens");
    let closing = attach(&owner, &asked(true)).await.expect("opens");
    owner.close_session(NODE, closing, Instant::now()).expect("closes");
    owner.close().await;
    let owner = bench.open(2).await;
    let never_told = fresh_session();
    let left_over = owner.reconcile_sessions(&[closing, never_told, known]).expect("reconciles");
    assert_eq!(left_over, [never_told], "what is closing is ended in its turn");
    assert_eq!(owner.renew_session(NODE, known, Instant::now()), Ok(true));
    assert_eq!(owner.renew_session(NODE, unknown, Instant::now()), Ok(false));
    assert_eq!(owner.session_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_sessions_could_not_be_renewed_does_not_count_against_them() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let session = attach(&owner, &asked(false)).await.expect("opens");
    let begun = Instant::now();
    let at = |seconds: u64| begun + Duration::from_secs(seconds);
    let lease = LEASE.as_secs();
    assert!(owner.attend(begun));
    // The process stood still, and hears the renewal before it looks at its sessions; or the other way round.
    let after = 5 * lease;
    assert_eq!(owner.renew_session(NODE, session, at(after)), Ok(true));
    assert!(owner.attend(at(2 * after)));
    owner.expire(at(2 * after)).expect("expires nothing");
    assert_eq!(owner.session_count(), 1);
    assert_eq!(owner.renew_session(NODE, session, at(3 * after)), Ok(true));
    // While it is there all the time, who is not heard of is over.
    for second in 0..=lease {
        assert!(owner.attend(at(3 * after + second)));
    }
    assert_eq!(owner.renew_session(NODE, session, at(3 * after + lease)), Ok(false));
    owner.expire(at(3 * after + lease)).expect("expires");
    assert_eq!(owner.session_count(), 0);
}
