//! A workload that is killed before each of its steps of input and output, and what is there afterwards.

use std::collections::BTreeMap;

use weft_wire::meta::{AttributeChanges, ListDirectory, Rename, RenameMode};

use super::*;

pub(super) type Listing = BTreeMap<Vec<u8>, (Inode, u16)>;

/// Operations that are sent at once before the first of them is answered; each has a slot of its own.
pub(super) const AT_ONCE: usize = 3;

fn rename(from: &str, to: &str) -> MetaOp {
    let (parent, new_parent) = (Inode::ROOT, Inode::ROOT);
    let (name, new_name) = (name(from), name(to));
    MetaOp::Rename(Rename { parent, name, new_parent, new_name, mode: RenameMode::Replace })
}

fn mode(mode: u16) -> MetaOp {
    let changes = AttributeChanges { mode: Some(mode), ..Default::default() };
    MetaOp::SetAttributes { inode: Inode::ROOT, changes }
}

fn directory(text: &str) -> MetaOp {
    MetaOp::MakeNode(MakeNode {
        parent: Inode::ROOT,
        name: name(text),
        node: NewNode::Directory,
        mode: 0o755,
        umask: 0,
    })
}

/// Mutations, each of which changes what is listed, and some that are refused.
pub(super) fn workload() -> Vec<MetaOp> {
    let mut ops = Vec::new();
    for round in 0..6 {
        let text = |kind: &str| format!("{kind} {round}");
        ops.push(create(&text("file")));
        ops.push(directory(&text("directory")));
        ops.push(rename(&text("file"), &text("moved")));
        ops.push(create(&text("moved")));
        ops.push(create("taken"));
        ops.push(mode(0o700 + round));
        ops.push(unlink("taken"));
    }
    ops
}

/// What there is: names, and the modes of what they name; and the mode of the root.
pub(super) async fn listing(owner: &Owner, frontend: &mut Frontend) -> Listing {
    let list = ListDirectory { inode: Inode::ROOT, after: 0, limit: 100, with_attributes: true };
    let mut found: Listing = match frontend.ask(owner, MetaOp::ListDirectory(list)).await {
        Ok(MetaReply::Directory(page)) => page
            .entries
            .into_iter()
            .map(|entry| {
                let attributes = entry.attributes.expect("asked for");
                (entry.name.as_bytes().to_vec(), (entry.inode, attributes.mode))
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    match frontend.ask(owner, MetaOp::GetAttributes { inode: Inode::ROOT }).await {
        Ok(MetaReply::Attributes(root)) => found.insert(Vec::new(), (Inode::ROOT, root.mode)),
        other => panic!("{other:?}"),
    };
    found
}

pub(super) fn call(session: SessionId, number: usize, op: &MetaOp) -> Meta {
    let slot = SlotId::new(u16::try_from(number % AT_ONCE).expect("few"));
    let seq = SlotSeq::new((number / AT_ONCE) as u64 + 1);
    Meta {
        filesystem: FILESYSTEM,
        session,
        slot,
        seq,
        caller: Caller::default(),
        op: op.clone(),
        term: Term::default(),
    }
}

pub(super) type Answer = Result<MetaReply, MetaError>;

/// What is the same whenever an operation is done: keys are drawn, and times told, anew.
pub(super) fn outline(answer: &Answer) -> Result<Option<Inode>, MetaError> {
    match answer {
        Ok(MetaReply::Opened(opened)) => Ok(Some(opened.attributes.inode)),
        Ok(MetaReply::Attributes(attributes)) => Ok(Some(attributes.inode)),
        Ok(_) => Ok(None),
        Err(refusal) => Err(*refusal),
    }
}

/// What a frontend has heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) sent: usize,
    pub(super) answers: Vec<Answer>,
}

/// Sends the workload, some operations at once, and hears the answers in their order.
async fn run(owner: &Owner, session: SessionId, ops: &[MetaOp], heard: &mut Heard) {
    run_with(owner, session, ops, heard, Duration::ZERO).await;
}

/// The same, with a pause after each answer.
pub(super) async fn run_with(
    owner: &Owner,
    session: SessionId,
    ops: &[MetaOp],
    heard: &mut Heard,
    pause: Duration,
) {
    for some in ops.chunks(AT_ONCE) {
        let mut waiting = Vec::new();
        for op in some {
            match execute(owner, &call(session, heard.sent, op)).expect("serves") {
                Attempt::Answer { answer, durable_with, .. } => waiting.push((answer, durable_with)),
                other => panic!("{other:?}"),
            }
            heard.sent += 1;
        }
        for (answer, durable_with) in waiting {
            owner.answerable(durable_with).await.expect("durable");
            heard.answers.push(answer);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
            owner.renew_session(NODE, session, Instant::now()).expect("serves");
        }
    }
}

/// What there is after each operation, and the answers.
pub(super) async fn reference(ops: &[MetaOp]) -> (Vec<Listing>, Vec<Answer>, u64) {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let mut heard = Heard::default();
    run(&owner, frontend.session, ops, &mut heard).await;
    let steps = bench.log.steps();
    drop(owner);

    let bench = Bench::new();
    let owner = bench.open(1).await;
    frontend = Frontend::attach(&owner).await;
    let mut after = vec![listing(&owner, &mut frontend).await];
    for (number, op) in ops.iter().enumerate() {
        let answer = meta(&owner, NODE, &call(frontend.session, number, op))
            .await
            .expect("serves")
            .map(|done| done.reply);
        assert_eq!(outline(&answer), outline(&heard.answers[number]));
        after.push(listing(&owner, &mut frontend).await);
    }
    (after, heard.answers, steps)
}

/// What of the index is left of a killed process.
pub(super) fn leave_index(bench: &Bench, next: &Bench, stale: &Path, kill: u64) {
    match kill % 4 {
        0 => copy_index(&bench.index(), &next.index()),
        1 => {}
        2 => copy_index(stale, &next.index()),
        _ => std::fs::write(next.index(), b"this is no index").expect("writes"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_whenever_the_process_is_killed() {
    let ops = workload();
    let (after, answers, steps) = reference(&ops).await;
    assert!(steps > 2 * (ops.len() / AT_ONCE) as u64, "there is something to kill at: {steps}");
    let mut kills = 0;
    for kill in 0..steps {
        let bench = Bench::new();
        let owner = bench.open(1).await;
        let stale = bench.dir.path().join("stale");
        copy_index(&bench.index(), &stale);
        let mut frontend = Frontend::attach(&owner).await;
        // The filesystem and the session are there.
        let from = bench.log.steps();
        if kill < from {
            continue;
        }
        kills += 1;
        bench.log.kill_at(kill);
        let mut heard = Heard::default();
        tokio::select! {
            biased;
            () = run(&owner, frontend.session, &ops, &mut heard) => {}
            () = bench.log.killed() => {}
        }
        let next = Bench { log: bench.log.survived(), ..Bench::new() };
        leave_index(&bench, &next, &stale, kill);
        drop(owner);

        let owner = next.open(2).await;
        let acknowledged = heard.answers.len();
        let found = listing(&owner, &mut frontend).await;
        assert!(
            after[acknowledged..=heard.sent].contains(&found),
            "killed before step {kill}: {acknowledged} of {} answered, found {found:?}",
            heard.sent
        );
        // Whoever asks again gets the first answer, of what was answered before the kill and of what was not.
        let first = acknowledged.saturating_sub(AT_ONCE);
        let last_of_slot = heard.sent.saturating_sub(AT_ONCE);
        for number in first.max(last_of_slot)..heard.sent {
            let again = call(frontend.session, number, &ops[number]);
            let answer = meta(&owner, NODE, &again).await.expect("serves").map(|done| done.reply);
            match heard.answers.get(number) {
                Some(known) => assert_eq!(&answer, known, "operation {number}, killed before step {kill}"),
                None => assert_eq!(outline(&answer), outline(&answers[number])),
            }
        }
        assert_eq!(listing(&owner, &mut frontend).await, after[heard.sent], "killed before step {kill}");
    }
    assert!(kills > 20, "{kills}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_crash_gets_the_first_answer_key_included() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    let call = frontend.call(create("a"));
    let first = meta(&owner, NODE, &call).await.expect("serves").expect("made");
    // Nothing of the host is left.
    let next = Bench { log: bench.log.survived(), ..Bench::new() };
    let owner = next.open(2).await;
    let again = meta(&owner, NODE, &call).await.expect("serves").expect("made");
    assert_eq!((&first.reply, &first.touched), (&again.reply, &again.touched));
    assert!(matches!(first.reply, MetaReply::Opened(_)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_filesystem_is_opened_to_be_dropped_without_keys() {
    let bench = Bench::new();
    let owner = bench.open(1).await;
    let mut frontend = Frontend::attach(&owner).await;
    owner.close_session(NODE, frontend.session, Instant::now()).expect("closes");
    owner.close().await;
    let now = Instant::now();
    let log = bench.log.take_over(Epoch::new(2));
    let index = recover_index(&log, &bench.index()).await.expect("recovers").index;
    let lease = Arc::new(Lease::new(held(2), now, OWNERSHIP, now, Duration::ZERO));
    let sources = Sources::of_the_host();
    let opening = Opening { lease, keys: None, sources, settings: settings(), deleting: true };
    let Opened { owner, worker } = opening.start(log, index).expect("opens");
    tokio::spawn(worker.run());
    assert_eq!(owner.try_begin_dropping(), Ok(None));
    assert_eq!(owner.read(|tx| weft_meta::drop::extents_left(tx)), Ok(0));
    assert_eq!(execute(&owner, &frontend.call(lookup("a"))), Err(Fault::NotServing));
    let ((), seq) = owner.change(|tx| weft_meta::drop::forget(tx, &[])).expect("changes");
    owner.durable(seq).await.expect("durable");
}
