use weft_wire::meta::{Attributes, ListDirectory};

use super::*;

fn durable_with(attempt: &Attempt) -> u64 {
    match attempt {
        Attempt::Answer { durable_with, .. } => *durable_with,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_all_that_it_saw_and_only_for_that() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let old = inode_of(&frontend.ask(&owner, create("old")).await.expect("made"));
    let seen = execute(&owner, &frontend.call(MetaOp::GetAttributes { inode: old })).expect("serves");
    owner.durable(durable_with(&seen)).await.expect("durable");
    bench.log.set_gate(false);
    let before = owner.progress().borrow().durable;
    let made = execute(&owner, &frontend.call(create("new"))).expect("serves");
    let seen = execute(&owner, &frontend.call(lookup("new"))).expect("serves");
    let missed = execute(&owner, &frontend.call(lookup("other"))).expect("serves");
    let unrelated = execute(&owner, &frontend.call(MetaOp::GetAttributes { inode: old })).expect("serves");
    assert!(durable_with(&made) > before);
    assert_eq!(durable_with(&seen), durable_with(&made));
    assert!(durable_with(&missed) > before, "the directory was changed by what is not durable");
    assert!(durable_with(&unrelated) <= before);
    assert_eq!(owner.progress().borrow().durable, before);
    bench.log.set_gate(true);
    owner.durable(durable_with(&seen)).await.expect("durable");
}

#[tokio::test(start_paused = true)]
async fn how_much_room_there_is_is_answered_while_a_batch_waits() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    bench.log.set_gate(false);
    execute(&owner, &frontend.call(create("new"))).expect("serves");
    let wait = std::time::Duration::from_secs(1);
    let space = tokio::time::timeout(wait, frontend.ask(&owner, MetaOp::GetSpace)).await;
    assert!(matches!(space, Ok(Ok(MetaReply::Space(_)))), "{space:?}");
    let seen = tokio::time::timeout(wait, frontend.ask(&owner, lookup("new"))).await;
    assert!(seen.is_err(), "what may not last is not told: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_fills_while_one_is_in_flight_and_is_bounded() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    bench.log.set_gate(false);
    let value = vec![1_u8; 60_000];
    let mut filled = 0_usize;
    let last = loop {
        let op = MetaOp::SetXattr(weft_wire::meta::SetXattr {
            inode: Inode::ROOT,
            name: format!("user.{}", filled % 16).into_bytes().into(),
            value: value.clone().into(),
            mode: weft_wire::meta::XattrMode::Any,
            kill_set_group_id: false,
        });
        let call = frontend.call(op);
        match execute(&owner, &call).expect("serves") {
            Attempt::Full => break call,
            Attempt::Answer { answer, .. } => assert_eq!(answer, Ok(MetaReply::Done)),
            Attempt::OlderMap | Attempt::Recalled(_) => panic!("nothing is in the way"),
        }
        filled += 1;
        assert!(filled < 1000, "there is no bound");
    };
    // It waits, and is done once there is room.
    bench.log.set_gate(true);
    let done = meta(&owner, NODE, &last).await.expect("serves").expect("is done");
    assert_eq!(done.reply, MetaReply::Done);
    assert!(bench.log.batches().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_log_deposes_the_owner_and_the_next_one_answers_the_retry() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    frontend.ask(&owner, create("before")).await.expect("made");
    bench.log.set_failing(true);
    let call = frontend.call(create("during"));
    assert_eq!(meta(&owner, NODE, &call).await, Err(Fault::NotServing));
    assert!(!owner.is_serving());
    assert_eq!(execute(&owner, &frontend.call(lookup("before"))), Err(Fault::NotServing));
    bench.log.set_failing(false);
    // The failed owner is still held by someone; its files are free all the same.
    owner.close().await;
    let next = bench.open(2).await;
    let made = meta(&next, NODE, &call).await.expect("serves").expect("made");
    let again = meta(&next, NODE, &call).await.expect("serves").expect("made");
    assert_eq!(made.reply, again.reply);
    frontend.ask(&next, lookup("before")).await.expect("is there");
    assert_eq!(next.renew_session(NODE, frontend.session, Instant::now()), Ok(true), "sessions survive");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_mutation_gets_the_first_answer_and_is_done_once() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let call = frontend.call(create("a"));
    let first = meta(&owner, NODE, &call).await.expect("serves").expect("made");
    let again = meta(&owner, NODE, &call).await.expect("serves").expect("was made");
    assert_eq!(again.reply, first.reply);
    assert!(!again.stamp.leased, "others may have changed it since");
    let refused = frontend.call(create("a"));
    assert_eq!(meta(&owner, NODE, &refused).await, Ok(Err(MetaError::Exists)));
    frontend.ask(&owner, lookup("a")).await.expect("is there");
    assert_eq!(meta(&owner, NODE, &refused).await, Ok(Err(MetaError::Exists)), "a refusal is kept too");
    assert_eq!(meta(&owner, NODE, &call).await, Ok(Err(MetaError::SlotOutOfStep)));
    let mut wrong = frontend.call(create("b"));
    wrong.slot = SlotId::new(settings().slots);
    assert_eq!(meta(&owner, NODE, &wrong).await, Ok(Err(MetaError::SlotOutOfStep)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_operation_leaves_nothing_but_its_record() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    async fn root(owner: &Owner, frontend: &mut Frontend) -> Attributes {
        match frontend.ask(owner, MetaOp::GetAttributes { inode: Inode::ROOT }).await {
            Ok(MetaReply::Attributes(attributes)) => attributes,
            other => panic!("{other:?}"),
        }
    }
    let before = root(&owner, &mut frontend).await;
    assert_eq!(frontend.ask(&owner, unlink("none")).await, Err(MetaError::NotFound));
    assert_eq!(root(&owner, &mut frontend).await, before);
}

#[tokio::test(start_paused = true)]
async fn without_room_only_what_makes_room_goes_through() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    frontend.ask(&owner, create("a")).await.expect("made");
    for (room, removed) in [(Room::Reserve, Ok(())), (Room::None, Err(MetaError::NoSpace))] {
        bench.log.set_room(Room::Ample);
        frontend.ask(&owner, create(&format!("{room:?}"))).await.expect("made");
        bench.log.set_room(room);
        let mut progress = owner.progress();
        progress.wait_for(|progress| progress.room == room).await.expect("the owner learns of it");
        assert_eq!(frontend.ask(&owner, create("b")).await, Err(MetaError::NoSpace));
        assert_eq!(frontend.ask(&owner, unlink(&format!("{room:?}"))).await.map(drop), removed);
        frontend.ask(&owner, lookup("a")).await.expect("reading goes on");
        bench.log.set_room(Room::Ample);
        progress.wait_for(|progress| progress.room == Room::Ample).await.expect("the owner learns of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_lists_what_is_not_durable_yet_and_waits_for_it() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    bench.log.set_gate(false);
    for text in ["x", "y", "z"] {
        execute(&owner, &frontend.call(create(text))).expect("serves");
    }
    let list = ListDirectory { inode: Inode::ROOT, after: 0, limit: 10, with_attributes: true };
    let listed = execute(&owner, &frontend.call(MetaOp::ListDirectory(list))).expect("serves");
    bench.log.set_gate(true);
    let Attempt::Answer { answer: Ok(MetaReply::Directory(page)), durable_with, .. } = listed else {
        panic!("{listed:?}")
    };
    assert_eq!((page.entries.len(), page.end), (3, true));
    assert!(durable_with >= 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_closes_also_when_there_is_no_space_for_what_is_left() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    frontend.ask(&owner, create("a")).await.expect("made");
    bench.log.set_gate(false);
    let made = execute(&owner, &frontend.call(create("b"))).expect("serves");
    bench.log.set_room(Room::None);
    bench.log.set_gate(true);
    owner.close().await;
    assert_eq!(owner.durable(durable_with(&made)).await, Err(Fault::NotServing));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_drives_do_not_take_is_offered_until_they_do() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    bench.log.set_unavailable(true);
    let call = frontend.call(create("a"));
    let waiting = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.log.set_unavailable(false);
    };
    let (made, ()) = tokio::join!(meta(&owner, NODE, &call), waiting);
    made.expect("serves").expect("made");
    assert!(owner.is_serving());
}

#[tokio::test(start_paused = true)]
async fn a_deposed_owner_gives_up_and_says_why() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    bench.log.take_over(Epoch::new(2));
    let call = frontend.call(create("late"));
    assert_eq!(meta(&owner, NODE, &call).await, Err(Fault::NotServing));
    assert!(owner.progress().borrow().deposed && !owner.is_serving());
}

#[tokio::test(start_paused = true)]
async fn after_a_newer_map_was_acted_on_nothing_is_executed_under_an_older_one() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let with_map = |version: u64| View { map: Some(Arc::new(map(version))), ..view() };
    bench.log.set_gate(false);
    let before = owner
        .execute(NODE, &placed(&owner, &frontend.call(create("a"))), &with_map(6), None)
        .expect("serves");
    let all = owner.act_on(MapVersion::new(7));
    assert!(all >= durable_with(&before), "what was executed before is waited for");
    let call = frontend.call(create("b"));
    assert_eq!(owner.execute(NODE, &placed(&owner, &call), &with_map(6), None), Ok(Attempt::OlderMap));
    let after = owner.execute(NODE, &placed(&owner, &call), &with_map(7), None).expect("serves");
    assert!(matches!(after, Attempt::Answer { answer: Ok(_), .. }), "{after:?}");
}

fn map(version: u64) -> weft_layout::ClusterMap {
    weft_layout::ClusterMap {
        cluster: weft_types::ClusterId::from_bytes([1; 16]),
        version: MapVersion::new(version),
        protection: weft_layout::Protection::DEVELOPMENT,
        drives: Vec::new(),
        groups: Vec::new(),
        computes: Vec::new(),
        management: weft_layout::NodeEntry { node: NODE, name: String::new(), address: String::new() },
    }
}
