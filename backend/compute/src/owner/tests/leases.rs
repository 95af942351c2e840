use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// An ownership of ten seconds.
fn lease(epoch: u64, after: Duration) -> Lease {
    let now = Instant::now();
    Lease::new(held(epoch), now, 10 * SECOND, now, after)
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_lease_ran_out_answers_nothing_reads_included() {
    let bench = Bench::new();
    let owner = bench.open_with(lease(1, Duration::ZERO)).await;
    let mut frontend = Frontend::attach(&owner).await;
    frontend.ask(&owner, create("a")).await.expect("made");
    let read = placed(&owner, &frontend.call(lookup("a")));
    let write = Meta { term: read.term, ..frontend.call(create("b")) };
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(owner.meta(NODE, &read, view).await, Err(Fault::NotServing));
    assert_eq!(owner.meta(NODE, &write, view).await, Err(Fault::NotServing));
    assert_eq!(owner.renew_session(NODE, frontend.session, Instant::now()), Err(Fault::NotServing));
    assert_eq!(owner.close_session(NODE, frontend.session, Instant::now()), Err(Fault::NotServing));
    let opened = owner.open_session(NODE, &asked(true), fresh_session(), Instant::now());
    assert_eq!(opened, Err(Fault::NotServing));
    assert!(!owner.attend(Instant::now()), "nor does it take note of who is not heard of");
    // Nobody else began meanwhile.
    owner.lease().renew(Instant::now(), 10 * SECOND);
    owner.meta(NODE, &read, view).await.expect("answers again").expect("is there");
}

#[tokio::test(start_paused = true)]
async fn what_was_executed_within_the_lease_is_not_answered_beyond_it() {
    let bench = Bench::new();
    let owner = bench.open_with(lease(1, Duration::ZERO)).await;
    let mut frontend = Frontend::attach(&owner).await;
    frontend.ask(&owner, create("a")).await.expect("made");
    bench.log.set_gate(false);
    let write = frontend.call(create("b"));
    let read = frontend.call(lookup("b"));
    let late = async {
        tokio::time::sleep(11 * SECOND).await;
        bench.log.set_gate(true);
    };
    let (written, seen, ()) = tokio::join!(meta(&owner, NODE, &write), meta(&owner, NODE, &read), late);
    assert_eq!((written, seen), (Err(Fault::NotServing), Err(Fault::NotServing)));
    assert!(owner.progress().borrow().durable > 2, "it is durable all the same");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_while_an_earlier_owner_may() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    owner.close().await;
    let next = bench.open_with(lease(2, 5 * SECOND)).await;
    let read = frontend.call(MetaOp::GetAttributes { inode: Inode::ROOT });
    assert_eq!(meta(&next, NODE, &read).await, Err(Fault::NotServing));
    tokio::time::advance(5 * SECOND).await;
    meta(&next, NODE, &read).await.expect("serves").expect("is there");
    let in_time = Instant::now() + LEASE - SECOND;
    next.lease().renew(in_time, 10 * SECOND);
    assert_eq!(
        next.renew_session(NODE, frontend.session, in_time),
        Ok(true),
        "a session's new lease begins when it can be renewed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_what_it_depends_on() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let frontend = Frontend::attach(&owner).await;
    owner.settled().await.expect("all is durable");
    bench.log.set_gate(false);
    owner.close_session(NODE, frontend.session, Instant::now()).expect("closes");
    assert_eq!(owner.renew_session(NODE, frontend.session, Instant::now()), Ok(false));
    let waits = tokio::time::timeout(SECOND, owner.settled()).await;
    assert!(waits.is_err(), "the end is not durable");
    bench.log.set_gate(true);
    owner.settled().await.expect("now it is");
}
