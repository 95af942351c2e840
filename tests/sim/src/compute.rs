//! The compute nodes: the production's owners, taken over, leased and looked after as a compute process does it.

mod calls;
mod care;
mod leases;
mod serving;
mod taking;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_compute::{ComputeSettings, Leases, Owner, Sources, View};
use weft_layout::ClusterMap;
use weft_meta::SpaceView;
use weft_types::{ByteCount, NodeId};

use crate::dice::Dice;
use crate::net::{Endpoint, Life, Node};
use crate::simulate::Bug;
use crate::world::{World, compute_node};

pub(crate) use serving::Served;

/// A compute node, whether or not its process runs.
pub(crate) struct ComputeNode {
    number: usize,
    /// Where it keeps its index.
    index: PathBuf,
    /// How much its clock's hour differs: what it believes to be a lease is so many parts of 1000 of one.
    rate: u32,
    /// How far its time of day is off, in milliseconds.
    off_by: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Arc<Process>>,
    starts: u64,
}

/// A compute process that runs.
pub(crate) struct Process {
    /// Itself on the network.
    pub(crate) endpoint: Endpoint,
    /// Its node.
    pub(crate) node: NodeId,
    number: usize,
    rate: u32,
    index: PathBuf,
    sources: Sources,
    leases: Leases,
    /// One takeover at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    map: Option<Arc<ClusterMap>>,
    free: Option<ByteCount>,
    owner: Option<Arc<Owner>>,
    /// Another node has it: taken over only when somebody asks.
    elsewhere: bool,
}

impl ComputeNode {
    /// One whose process does not run yet.
    pub(crate) fn new(seed: u64, number: usize, dir: &Path) -> Self {
        let mut dice = Dice::new(seed, 100 + number as u64);
        let rate = 950 + u32::try_from(dice.below(51)).unwrap_or(0);
        let off_by = i64::try_from(dice.below(4000)).unwrap_or(0) - 2000;
        let index = dir.join(format!("c{number}")).join("index");
        Self { number, index, rate, off_by, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process, if it runs.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        self.state().process.clone()
    }

    /// Its process ends here. Of its index is left what a kill leaves, nothing, or an older copy.
    pub(crate) fn stop(&self, dice: &mut Dice) {
        let Some(process) = self.state().process.take() else { return };
        process.endpoint.life.end();
        // The owner's worker is dropped with its task; the file is as the kill finds it.
        let kept = self.index.with_extension("kept");
        let left = self.index.with_extension("left");
        let _ = std::fs::copy(&self.index, &left);
        let _ = std::fs::remove_file(&self.index);
        match dice.below(4) {
            0 => {}
            1 => drop(std::fs::copy(&kept, &self.index)),
            _ => drop(std::fs::copy(&left, &self.index)),
        }
        if dice.per_mille(300) {
            let _ = std::fs::rename(&left, &kept);
        }
    }

    /// Starts its process, unless it runs.
    pub(crate) fn start(&self, world: &Arc<World>) {
        let mut state = self.state();
        if state.process.is_some() {
            return;
        }
        state.starts += 1;
        // Chance that never comes again; or the same at each start.
        let starts = if world.options.bug == Some(Bug::NonceReset) { 0 } else { state.starts };
        let purpose = 200 + self.number as u64 + 16 * starts;
        let purpose = if world.options.bug == Some(Bug::NonceReset) { 200 } else { purpose };
        let endpoint = Endpoint { node: Node::Compute(self.number), life: Life::begin() };
        let chance = Mutex::new(Dice::new(world.seed, purpose));
        let (clock, off_by) = (Arc::downgrade(world), self.off_by);
        let sources = Sources::new(
            move |bytes| chance.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes),
            move || clock.upgrade().map(|world| world.time_of_day(off_by)).unwrap_or_default(),
        );
        let process = Arc::new(Process {
            endpoint,
            node: compute_node(self.number),
            number: self.number,
            rate: self.rate,
            index: self.index.clone(),
            sources,
            leases: Leases::default(),
            turn: Arc::default(),
            known: Mutex::new(Known { elsewhere: self.number > 0 && state.starts == 1, ..Known::default() }),
        });
        state.process = Some(Arc::clone(&process));
        world.trace.note(format_args!("c{} runs", self.number));
        process.begin(world);
    }
}

impl Process {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster as this process knows it.
    pub(crate) fn view(&self) -> View {
        let known = self.known();
        let space =
            |(map, free): (&Arc<ClusterMap>, ByteCount)| SpaceView { capacity: map.net_capacity(), free };
        View { map: known.map.clone(), space: known.map.as_ref().zip(known.free).map(space) }
    }

    /// The owner that serves here.
    pub(crate) fn serving(&self) -> Option<Arc<Owner>> {
        self.known().owner.clone().filter(|owner| owner.is_serving())
    }

    fn learn(&self, map: ClusterMap) {
        let mut known = self.known();
        if known.map.as_ref().is_none_or(|old| old.version < map.version) {
            known.map = Some(Arc::new(map));
        }
    }

    fn settings(&self, world: &World) -> ComputeSettings {
        ComputeSettings {
            deletion_delay: world.options.deletion_delay(),
            slots: 64,
            ..ComputeSettings::default()
        }
    }

    /// Its background work, until its end.
    fn begin(self: &Arc<Self>, world: &Arc<World>) {
        let (this, world) = (Arc::clone(self), Arc::clone(world));
        tokio::spawn(async move {
            let life = this.endpoint.life.clone();
            let work = async {
                tokio::join!(this.beat(&world), this.renew(&world), this.keep(&world));
            };
            life.run(work).await
        });
    }
}
