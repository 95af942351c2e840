//! The whole path of metadata over simulated drives: killed before and after every call of an owner.

use super::cluster::{Cluster, Process};
use super::crashes::{AT_ONCE, Heard, call, leave_index, listing, outline, reference, run_with, workload};
use super::*;

/// Between operations, so that upkeep and checkpoints come in between.
const PAUSE: Duration = Duration::from_secs(1);

/// A process that owns the shard, and its folder.
struct Running {
    bench: Bench,
    owner: Owner,
}

impl Running {
    /// Takes over in a folder.
    async fn start(process: &Process, bench: Bench) -> Self {
        let log = process.take_over().await;
        let index = recover_index(&log, &bench.index()).await.expect("recovers").index;
        let epoch = weft_engine::ShardLog::epoch(&log).get();
        let now = Instant::now();
        let lease = Arc::new(Lease::new(held(epoch), now, OWNERSHIP, now, Duration::ZERO));
        let (keys, sources) = (Some(Keys::of_a_test(FILESYSTEM)), Sources::of_the_host());
        let opening = Opening { lease, keys, sources, settings: settings(), deleting: false };
        let Opened { owner, worker } = opening.start(log, index).expect("starts");
        tokio::spawn(worker.run());
        Self { bench, owner }
    }
}

/// Steps of the calls until the filesystem and the session are there, and until the workload is done.
async fn count(ops: &[MetaOp]) -> (u64, u64) {
    let cluster = Cluster::new();
    let process = Process::new(&cluster, None);
    let running = Running::start(&process, Bench::new()).await;
    let frontend = Frontend::attach(&running.owner).await;
    let from = process.steps();
    let mut heard = Heard::default();
    run_with(&running.owner, frontend.session, ops, &mut heard, PAUSE).await;
    assert!(cluster.row().checkpoint.is_some(), "checkpoints are written meanwhile");
    (from, process.steps())
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_whatever_call_the_process_is_killed_at() {
    let ops = workload();
    let (after, answers, _) = reference(&ops).await;
    let (from, until) = count(&ops).await;
    assert!(until - from > 100, "there is something to kill at: {from} to {until}");
    for kill in from..until {
        let cluster = Cluster::new();
        let process = Process::new(&cluster, None);
        let first = Running::start(&process, Bench::new()).await;
        let stale = first.bench.dir.path().join("stale");
        copy_index(&first.bench.index(), &stale);
        let mut frontend = Frontend::attach(&first.owner).await;
        process.kill_at(kill);
        let mut heard = Heard::default();
        tokio::select! {
            biased;
            () = run_with(&first.owner, frontend.session, &ops, &mut heard, PAUSE) => {}
            () = process.killed() => {}
        }
        let next = Bench::new();
        leave_index(&first.bench, &next, &stale, kill);
        drop(first);

        // The next one is killed while it takes over, and one drive of the list is lost.
        cluster.lose(usize::try_from(kill % 3).expect("small"));
        let second = Process::new(&cluster, Some(kill % 37));
        tokio::select! {
            biased;
            running = Running::start(&second, next) => drop(running),
            () = second.killed() => {}
        }
        let third = Process::new(&cluster, None);
        let Running { owner, .. } = Running::start(&third, Bench::new()).await;
        let acknowledged = heard.answers.len();
        let found = listing(&owner, &mut frontend).await;
        assert!(
            after[acknowledged..=heard.sent].contains(&found),
            "killed at {kill}: {acknowledged} of {} answered, found {found:?}",
            heard.sent
        );
        let first_again = acknowledged.max(AT_ONCE).max(heard.sent) - AT_ONCE;
        for number in first_again..heard.sent {
            let again = call(frontend.session, number, &ops[number]);
            let answer = meta(&owner, NODE, &again).await.expect("serves").map(|done| done.reply);
            match heard.answers.get(number) {
                Some(known) => assert_eq!(&answer, known, "operation {number}, killed at {kill}"),
                None => assert_eq!(outline(&answer), outline(&answers[number])),
            }
        }
        assert_eq!(listing(&owner, &mut frontend).await, after[heard.sent], "killed at {kill}");
    }
}
