//! The power of all drives is cut at once, at any input or output of any of them, under the whole path of metadata:
//! an owner, its replicated log, and production's drives on media that lose, tear and reorder what was not flushed.
//!
//! After the cut another owner takes over from what is left, sometimes without two of the drives. What was answered
//! must be there with all its effects, of everything else each whole or not at all, and all of it in order: the rows
//! are those after some action from the last answered one on. Retries get their first answers, what was not answered
//! is done when it is sent again, and the owner works on, through another cut.
//!
//! Some moments are tried, drawn from a seed that is printed; `WEFT_TEST_SEED` gives it, and `WEFT_TEST_LONG` tries
//! every moment.

mod check;
mod cluster;
mod process;
mod run;
mod timeline;
mod workload;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weft_pki::ClusterAuthority;

use check::{check, paused};
use cluster::Cluster;
use run::Run;
use timeline::{Draw, Event};

/// Moments that are tried when not all are.
const SOME: usize = 200;
/// What is lost is drawn so often for each of them, beside all and nothing; and when all moments are tried.
const DRAWN: (u64, u64) = (2, 6);

fn recorded(authority: &Arc<ClusterAuthority>, flushes: bool) -> Run {
    let cluster = Cluster::start(cluster::blank(), cluster::first_row(), authority);
    if !flushes {
        cluster.forget_flushes();
    }
    let mut run = Run::new(cluster, run::folder());
    paused(workload::run(&mut run));
    run
}

/// The workload meets all that it is meant to meet.
fn is_rich(run: &Run) {
    assert!(run.actions.len() > 200, "there is something to lose: {}", run.actions.len());
    let (mut lists, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
    for event in run.cluster.timeline.until(run.cluster.timeline.now()) {
        let Event::Row(row) = event else { continue };
        lists.extend(row.segments.last().map(|last| last.drives.clone()));
        checkpoints.extend(row.checkpoint.map(|root| (root.epoch, root.number)));
    }
    assert!(lists.len() > 2, "the log moves: {lists:?}");
    assert!(checkpoints.len() > 2, "checkpoints are written: {checkpoints:?}");
    assert_eq!(run.cluster.row().epoch.get(), 3, "owners take over");
    let first = paused(run.cluster.first_record());
    assert!(first > 10, "the log is trimmed: it begins with batch {first}");
}

fn seed() -> u64 {
    let given = std::env::var("WEFT_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(1);
    println!("seed: WEFT_TEST_SEED={seed}");
    seed
}

/// Cases of a moment and a seed of what is lost.
fn cases(run: &Run, seed: u64) -> Vec<(usize, u64)> {
    let mut cuts = run.cluster.timeline.cuts(0);
    let mut draw = Draw::new(&[seed]);
    let all = std::env::var_os("WEFT_TEST_LONG").is_some();
    let drawn = if all { DRAWN.1 } else { DRAWN.0 };
    if !all {
        for at in 0..SOME.min(cuts.len()) {
            let other = at + draw.below(cuts.len() - at);
            cuts.swap(at, other);
        }
        cuts.truncate(SOME);
    }
    let losses = |cut: usize| {
        let losses = (0..drawn).map(move |which| 2 + (seed + which + cut as u64 * drawn) % 1000);
        [0, 1].into_iter().chain(losses).map(move |loss| (cut, loss))
    };
    cuts.into_iter().flat_map(losses).collect()
}

#[test]
fn whatever_moment_the_power_is_cut_at_nothing_that_was_answered_is_lost() {
    let authority = cluster::authority();
    let run = recorded(&authority, true);
    is_rich(&run);
    let cases = cases(&run, seed());
    println!(
        "{} actions, {} inputs and outputs, {} cases",
        run.actions.len(),
        run.cluster.timeline.ios(),
        cases.len()
    );
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((cut, loss)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let again = loss % 8 == 3;
                    if let Err(panic) =
                        catch_unwind(AssertUnwindSafe(|| check(&run, &authority, *cut, *loss, again)))
                    {
                        eprintln!("the power was cut at {cut}, loss {loss}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

#[test]
fn without_flushes_what_was_answered_is_lost() {
    let authority = cluster::authority();
    let run = recorded(&authority, false);
    let cut = run.cluster.timeline.now();
    let lost = catch_unwind(AssertUnwindSafe(|| check(&run, &authority, cut, 0, false)));
    assert!(lost.is_err(), "or these tests prove nothing");
}
