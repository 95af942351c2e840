//! One schedule, from the founding of a cluster to the proof that it has healed.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use crate::dice::Dice;
use crate::frontend::Frontend;
use crate::nemesis::Nemesis;
use crate::raw::{Raw, Registers};
use crate::trace::{Invariant, Told, Violation};
use crate::world::{FILESYSTEM, Job, World};
use crate::writer::{Files, Writer};

/// Something that is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Media say that they have flushed before they have.
    EarlyFlush,
    /// Drives let an owner go on that was deposed.
    OldEpoch,
    /// Shards are deleted before it is durable that nothing refers to them.
    EarlyDelete,
    /// Chance, and with it salts, repeats at every start of an owner.
    NonceReset,
    /// Slots forget what was answered.
    RetryTwice,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::EarlyFlush, Self::OldEpoch, Self::EarlyDelete, Self::NonceReset, Self::RetryTwice];
}

/// How schedules are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What is wrong on purpose.
    pub bug: Option<Bug>,
    /// What of the trace is written to the standard output.
    pub told: Told,
}

impl Options {
    /// Media answer flushes before they are done.
    pub fn lies_about_flushes(&self) -> bool {
        self.bug == Some(Bug::EarlyFlush)
    }

    /// How long shards are kept after the last reference went.
    pub fn deletion_delay(&self) -> Duration {
        if self.bug == Some(Bug::EarlyDelete) { Duration::ZERO } else { Duration::from_secs(4) }
    }
}

/// What a schedule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Events, messages and IOs.
    pub events: u64,
    /// A hash over them all.
    pub hash: [u8; 32],
    /// Simulated time.
    pub lasted: Duration,
    /// Faults.
    pub faults: u64,
    /// Writes to registers that were acknowledged, and reads of them.
    pub registers: (u64, u64),
    /// Operations on files.
    pub files: u64,
    /// Sealed texts that were compared.
    pub sealed: u64,
}

/// Runs one schedule.
///
/// # Errors
/// The first [`Violation`].
pub fn simulate(seed: u64, options: Options) -> Result<Report, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let dir = index_folder();
    let local = LocalSet::new();
    let (jobs, mut todo) = mpsc::unbounded_channel::<Job>();
    let path = dir.path().to_owned();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(async move {
            while let Some(job) = todo.recv().await {
                drop(tokio::task::spawn_local(job()));
            }
        });
        let world = World::found(seed, options, path, jobs).await;
        let report = run(&world).await;
        match world.trace.violation() {
            Some(violation) => Err(violation),
            None => Ok(report),
        }
    })
}

/// Indices go where nothing is really written.
fn index_folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("a folder")
}

async fn run(world: &Arc<World>) -> Report {
    let mut dice = Dice::new(world.seed, 3);
    world.start_manager();
    let begun = Instant::now();
    loop {
        let management = world.managing().and_then(|managing| managing.management);
        if let Some(management) = management {
            management.create_filesystem(FILESYSTEM, world.time_of_day(0)).await.expect("created");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "management opens its store");
        sleep(Duration::from_millis(100)).await;
    }
    world.computes.iter().for_each(|node| node.start(world));
    let stopping = Arc::new(AtomicBool::new(false));
    let registers = Arc::<Registers>::default();
    let reader = tokio::spawn(read_always(Arc::clone(world), Arc::clone(&registers), Arc::clone(&stopping)));
    let files = Files::default();
    let mut writer = Writer::new(world, files, &registers, &stopping);
    let writing = tokio::task::spawn_local(async move {
        writer.write_always().await;
        writer
    });
    let mut nemesis = Nemesis::new(world);
    let length = dice.between(Duration::from_secs(25), Duration::from_secs(70));
    nemesis.trouble(length).await;
    world.trace.note(format_args!("faults stop"));
    nemesis.stop();
    stopping.store(true, Ordering::Relaxed);
    let healed = timeout(Duration::from_secs(240), async {
        let _ = reader.await;
        writing.await.ok()
    });
    let mut files = 0;
    match healed.await {
        Ok(Some(mut writer)) => {
            writer.finish(&nemesis).await;
            files = writer.operations();
        }
        Ok(None) => world.trace.violate(Invariant::Serves, format_args!("a client failed")),
        Err(_) => {
            world.trace.violate(Invariant::Heals, format_args!("clients are stuck after faults have stopped"))
        }
    }
    if !world.trace.is_violated() {
        nemesis.bring_back_old_stores().await;
    }
    let (events, hash) = world.trace.summary();
    Report {
        events,
        hash,
        lasted: world.trace.elapsed(),
        faults: nemesis.faults(),
        registers: registers.counts(),
        files,
        sealed: world.checks.compared(),
    }
}

/// Reads registers in read-only sessions, one after the other.
async fn read_always(world: Arc<World>, registers: Arc<Registers>, stopping: Arc<AtomicBool>) {
    let stop = || stopping.load(Ordering::Relaxed);
    let mut number = 1000;
    while !stop() && !world.trace.is_violated() {
        number += 1;
        let frontend = Frontend::new(&world, number, 0xb0);
        let dice = Dice::new(world.seed, u64::from(number));
        let opened = Raw::open(frontend, &registers, None, dice, Duration::from_secs(5)).await;
        if let Some(mut raw) = opened {
            raw.read_on(stop).await;
        }
    }
}
