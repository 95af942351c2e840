//! The memory of a mount's process stays within its budget under everything at once, and does not grow with time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weft_conformance::load::{Worker, make_large_directory};
use weft_conformance::{Mounts, is_long};
use weft_e2e::{Cluster, Random, seed_of_this_run};

/// What a mount's process may have resident: the default of its memory (`MEMORY_DEFAULT` in `weft-core`), in which the program
/// itself is counted.
const BUDGET_KIB: u64 = 512 << 10;
/// What the allocator keeps besides, of what was freed in the last second: so long it waits before it gives it back.
const FREED_KIB: u64 = 192 << 10;
/// By how much more the second half may have than the first: what allocators keep differs from moment to moment.
const MARGIN_KIB: u64 = 48 << 10;
/// Between two samples.
const SAMPLES_APART: Duration = Duration::from_millis(250);
/// Workers at once.
const WORKERS: u64 = 3;

/// How long, and how many names the large directory has.
fn size() -> (Duration, u64) {
    if is_long() { (Duration::from_secs(3600), 40_000) } else { (Duration::from_secs(40), 3_000) }
}

#[test]
fn a_mount_stays_within_its_budget_under_a_mixed_load() {
    let seed = seed_of_this_run();
    let (time, names) = size();
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    let large = mounts.a.join("large");
    make_large_directory(&large, names).expect("made");
    let pid = |name: &str| cluster.container(name).pid.expect("it runs");
    let processes = ["frontend0", "frontend1"].map(pid);
    let (over, is_over) = (AtomicBool::new(false), mpsc::channel::<()>());
    let failures = Mutex::new(Vec::new());
    let (ended, end) = is_over;
    let samples = thread::scope(|scope| {
        let slow = pid("drive1");
        let slowing = scope.spawn(move || slow_down(slow, seed, &end));
        for number in 0..WORKERS {
            let (mounts, large, over, failures) = (&mounts, &large, &over, &failures);
            scope.spawn(move || {
                let worker = Worker::begin(mounts, &format!("worker{number}"), large, seed ^ number);
                let done = worker.map_err(|error| error.to_string()).and_then(|worker| work(worker, over));
                match done {
                    Ok(jobs) => println!("worker {number}: {jobs} jobs"),
                    Err(what) => failures.lock().expect("nobody panics").push(what),
                }
            });
        }
        let samples = processes.map(|_| Vec::new());
        let samples = sample(processes, samples, time, &failures);
        over.store(true, Ordering::Relaxed);
        drop(ended);
        slowing.join().expect("the drive goes on");
        samples
    });
    let failures = failures.into_inner().expect("nobody panics");
    assert!(failures.is_empty(), "{failures:?}");
    for (name, samples) in ["frontend0", "frontend1"].into_iter().zip(samples) {
        check(name, &samples);
    }
}

/// Works until it is over; tells how many jobs that were.
fn work(mut worker: Worker, over: &AtomicBool) -> Result<u64, String> {
    while !over.load(Ordering::Relaxed) {
        worker.step()?;
    }
    Ok(worker.jobs())
}

/// Resident memory of the processes in KiB, from now on until the time is over or something failed.
fn sample<const N: usize>(
    processes: [i32; N],
    mut samples: [Vec<u64>; N],
    time: Duration,
    failures: &Mutex<Vec<String>>,
) -> [Vec<u64>; N] {
    let end = Instant::now() + time;
    while Instant::now() < end && failures.lock().expect("nobody panics").is_empty() {
        for (pid, samples) in processes.iter().zip(&mut samples) {
            samples.push(resident_kib(*pid));
        }
        thread::park_timeout(SAMPLES_APART);
    }
    samples
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a row");
    row.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Within the budget all the time; in the long run the second half has no more than the first, in which everything was filled.
fn check(name: &str, samples: &[u64]) {
    let most = |samples: &[u64]| samples.iter().max().copied().unwrap_or(0);
    let (first, second) = samples.split_at(samples.len() / 2);
    let (first, second) = (most(first), most(second));
    println!("{name}: {} samples, at most {} MiB and then {} MiB", samples.len(), first >> 10, second >> 10);
    assert!(samples.len() > 20, "{name}: hardly sampled");
    let limit = BUDGET_KIB + FREED_KIB;
    assert!(first.max(second) <= limit, "{name}: {first} and then {second} KiB, {limit} are its limit");
    if is_long() {
        assert!(second <= first + MARGIN_KIB, "{name} grows: {first} KiB in the first half, then {second}");
    }
}

/// Stops a drive for a part of a second again and again: others wait for it, and hold meanwhile what they wait with.
fn slow_down(pid: i32, seed: u64, end: &mpsc::Receiver<()>) {
    let mut random = Random::new(seed);
    let process = Pid::from_raw(pid).expect("a pid");
    let mut is_held = false;
    loop {
        let time = Duration::from_millis(200 + random.below(if is_held { 1500 } else { 3000 }));
        let is_over = end.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
        is_held = !is_held && !is_over;
        let signal = if is_held { Signal::STOP } else { Signal::CONT };
        kill_process(process, signal).expect("it is ours");
        if is_over {
            return;
        }
    }
}
