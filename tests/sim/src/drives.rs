//! The drives: the production's store and custody over a simulated medium each.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::sleep;
use weft_drive::local::LocalDrive;
use weft_drive::{DriveIdentity, FormatOptions, HeaderSalt, Store};
use weft_pki::NodeIdentity;
use weft_types::{ByteCount, ClusterId, DriveId, Incarnation, NodeId, Role, Timestamp};
use weft_wire::management::{DeviceReport, DriveReport, Heartbeat, NodeReport};

use crate::dice::Dice;
use crate::media::{Media, Pages};
use crate::net::{Endpoint, Life, NoAnswer, Node};
use crate::trace::Invariant;
use crate::world::World;

/// Bytes of a drive's medium; most of it is never written.
pub(crate) const DRIVE_BYTES: u64 = 96 << 20;
/// How often a drive says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// A drive at work.
pub(crate) type Local = LocalDrive<Arc<Media>>;

/// One drive of the cluster.
pub(crate) struct DriveSlot {
    state: Mutex<State>,
}

struct State {
    media: Arc<Media>,
    local: Option<Local>,
    life: Life,
    /// It never comes back.
    gone: bool,
    /// What it held at earlier times.
    kept: Vec<Pages>,
    starts: u64,
}

/// The drive of a number.
pub(crate) fn drive_id(number: usize) -> DriveId {
    DriveId::from_bytes([number as u8 + 1; 16])
}

/// The node that it runs on.
pub(crate) fn drive_node(number: usize) -> NodeId {
    NodeId::from_bytes([number as u8 + 0x41; 16])
}

/// The number of a drive.
pub(crate) fn drive_number(id: DriveId) -> usize {
    usize::from(id.to_bytes()[0]).wrapping_sub(1)
}

fn identity(cluster: ClusterId, number: usize) -> DriveIdentity {
    DriveIdentity { cluster, drive: drive_id(number), incarnation: Incarnation::new(1) }
}

impl DriveSlot {
    /// A drive that was just formatted, and does not run. `lies`: its medium's flushes are answered before they are done.
    pub(crate) fn format(cluster: ClusterId, number: usize, lies: bool) -> Self {
        let blank = Arc::new(Media::new(DRIVE_BYTES, Pages::new(), false));
        let salt = HeaderSalt([number as u8; 32]);
        let options = FormatOptions { identity: identity(cluster, number), salt, segment_bytes: None };
        Store::format(&blank, options).expect("a blank medium is formatted");
        let media = Arc::new(Media::new(DRIVE_BYTES, blank.durable(), lies));
        let state =
            State { media, local: None, life: Life::begin(), gone: false, kept: Vec::new(), starts: 0 };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.state().local.is_some()
    }

    /// Whether it never comes back.
    pub(crate) fn is_gone(&self) -> bool {
        self.state().gone
    }

    /// It never comes back.
    pub(crate) fn lose(&self) {
        self.stop();
        self.state().gone = true;
    }

    /// Its process ends here, and its host loses power.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.media.kill();
        state.local = None;
        state.life.end();
    }

    /// Its host loses power in the middle of the `ios`-th write or flush from now on.
    pub(crate) fn stop_within(&self, ios: u64) {
        self.state().media.fail_after(ios);
    }

    /// Remembers what it holds now.
    pub(crate) fn keep(&self) {
        let mut state = self.state();
        let pages = state.media.durable();
        state.kept.push(pages);
    }

    /// Its medium is replaced by an earlier copy of itself; false: there is none.
    pub(crate) fn restore(&self, lies: bool) -> bool {
        self.stop();
        let mut state = self.state();
        let Some(pages) = state.kept.pop() else { return false };
        state.media = Arc::new(Media::new(DRIVE_BYTES, pages, lies));
        true
    }
}

impl World {
    /// Does something at a drive; `None`: it does not run, or has ended meanwhile.
    pub(crate) fn at_drive<T>(&self, number: usize, act: impl FnOnce(&mut Local) -> T) -> Option<T> {
        let mut state = self.drives[number].state();
        let done = act(state.local.as_mut()?);
        self.tell_ios(number, &state.media);
        if state.media.is_dead() {
            state.local = None;
            state.life.end();
            self.trace.note(format_args!("d{number} has lost its power within a write"));
            return None;
        }
        Some(done)
    }

    fn tell_ios(&self, number: usize, media: &Media) {
        media.take_ios().iter().for_each(|io| self.trace.detail(format_args!("d{number} {io:?}")));
    }

    /// Calls a drive.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub(crate) async fn to_drive<T: fmt::Debug + Send + 'static>(
        self: &Arc<Self>,
        from: &Endpoint,
        number: usize,
        deadline: Duration,
        act: impl Fn(&Self, &mut Local) -> T + Send + Sync + 'static,
    ) -> Result<T, NoAnswer> {
        let act = Arc::new(act);
        let serve = move |world: Arc<Self>| {
            let act = Arc::clone(&act);
            async move {
                let answer = world.at_drive(number, |local| act(&world, local));
                world.trace.detail(format_args!("d{number} answers {answer:?}"));
                answer
            }
        };
        self.call(from, Node::Drive(number), deadline, serve).await
    }

    /// Starts a drive's process over what its medium has left, unless it runs or is gone.
    pub(crate) fn start_drive(self: &Arc<Self>, number: usize, dice: &mut Dice) {
        let slot = &self.drives[number];
        let mut state = slot.state();
        if state.gone || state.local.is_some() {
            return;
        }
        if state.starts > 0 {
            let pages = state.media.after_power_loss(dice);
            state.media = Arc::new(Media::new(DRIVE_BYTES, pages, self.options.lies_about_flushes()));
        }
        state.starts += 1;
        let verifier = self.authority.verifier();
        let opened = LocalDrive::open(Arc::clone(&state.media), identity(self.cluster, number), verifier);
        self.tell_ios(number, &state.media);
        match opened {
            Ok(local) => state.local = Some(local),
            Err(error) => {
                self.trace.violate(
                    Invariant::Serves,
                    format_args!("d{number} does not open after a loss of power: {error:?}"),
                );
                return;
            }
        }
        state.life = Life::begin();
        self.trace.note(format_args!("d{number} runs"));
        let endpoint = Endpoint { node: Node::Drive(number), life: state.life.clone() };
        drop(state);
        let world = Arc::clone(self);
        tokio::spawn(async move {
            let life = endpoint.life.clone();
            life.run(beat(world, endpoint, number)).await
        });
    }
}

/// Says that a drive lives, takes in which store there is, and tidies up.
async fn beat(world: Arc<World>, endpoint: Endpoint, number: usize) {
    let node = drive_node(number);
    let peer = NodeIdentity { cluster: world.cluster, role: Role::Drive, node };
    loop {
        let Some(report) = world.at_drive(number, |local| report(local, number)) else { return };
        let started = Timestamp::default();
        let container = "drives".to_owned();
        let heartbeat = Heartbeat { node, container, pid: 1, started, report: NodeReport::Drive(report) };
        let heard = world
            .to_manager(&endpoint, Duration::from_secs(3), move |management| {
                let heard = management.hear(peer, heartbeat.clone());
                async move { heard }
            })
            .await;
        if let Ok(Ok(heard)) = heard {
            world.at_drive(number, |local| local.hear_store(heard.store));
        }
        world.at_drive(number, |local| {
            // A medium that has failed says so to the next who writes.
            let _ = local.store_mut().clean(true);
            let _ = local.store_mut().vouch();
        });
        sleep(BEAT).await;
    }
}

fn report(local: &mut Local, number: usize) -> DriveReport {
    let usage = local.reader().usage();
    DriveReport {
        drive: drive_id(number),
        incarnation: Incarnation::new(1),
        capacity: usage.capacity,
        used: usage.used,
        shards: usage.shards,
        damaged: 0,
        puts: 0,
        gets: 0,
        warning: None,
        writable: ByteCount::new(usage.writable.get()),
        device: DeviceReport::default(),
    }
}
