//! Taking the filesystem over, and keeping it.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};
use weft_compute::{Keys, Lease, Opened, Opening, Owner, Progress, SHARD};
use weft_engine::{LogSettings, Recovered, ReplicatedLog, recover_index};
use weft_pki::NodeIdentity;
use weft_types::{Epoch, Role, Timestamp};
use weft_wire::log::LogKey;
use weft_wire::management::{ComputeReport, Heartbeat, NodeReport, OwnFilesystem, Ownership};
use weft_wire::ownership::{EndSession, Held, ListSessions};

use super::Process;
use super::calls::{Registry, Way};
use super::care::look_after;
use crate::trace::Invariant;
use crate::world::{FILESYSTEM, World};

/// How long management may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Tells what an owner commits, until it ends.
async fn watch_commits(world: Arc<World>, epoch: Epoch, mut progress: weft_watch::Receiver<Progress>) {
    // What it found there is another's.
    let mut told = progress.borrow().durable;
    while progress.changed().await.is_ok() {
        let durable = progress.borrow().durable;
        world.commits(epoch, told + 1..=durable);
        told = durable;
    }
}

impl Process {
    /// Tells management that it lives, for ever.
    pub(super) async fn beat(&self, world: &Arc<World>) {
        let peer = NodeIdentity { cluster: world.cluster, role: Role::Compute, node: self.node };
        loop {
            let report = NodeReport::Compute(ComputeReport {
                sessions: 0,
                operations: 0,
                batches: 0,
                extents_to_reclaim: 0,
                warning: None,
                respread_left: 0,
                orphans_deleted: 0,
                reconciling: 0,
                extents: 0,
            });
            let (node, container) = (self.node, "compute".to_owned());
            let heartbeat = Heartbeat { node, container, pid: 1, started: Timestamp::default(), report };
            let heard = world
                .to_manager(&self.endpoint, ANSWER_MAX, move |management| {
                    let heard = management.hear(peer, heartbeat.clone());
                    async move { heard }
                })
                .await;
            if let Ok(Ok(heard)) = heard {
                if heard.free.is_some() {
                    self.known().free = heard.free;
                }
                if self.view().map.is_none_or(|map| map.version != heard.map) {
                    self.refresh(world).await;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Fetches a newer map.
    pub(super) async fn refresh(&self, world: &Arc<World>) {
        let known = self.view().map.map(|map| map.version);
        let reply = world
            .to_manager(&self.endpoint, ANSWER_MAX, move |management| async move { management.map(known) })
            .await;
        if let Ok(Some(map)) = reply.map(|reply| reply.map) {
            self.learn(map);
        }
    }

    /// Takes over what nobody serves, for ever.
    pub(super) async fn keep(self: &Arc<Self>, world: &Arc<World>) {
        let mut pause = Duration::from_secs(1);
        loop {
            let deposed = {
                let mut known = self.known();
                let deposed = known.owner.take_if(|owner| owner.is_deposed());
                known.elsewhere |= deposed.is_some();
                deposed
            };
            if let Some(owner) = deposed {
                owner.close().await;
                self.leases.release(owner.lease());
            }
            let idle = !self.known().elsewhere && self.serving().is_none();
            if idle && self.owner(world).await.is_none() {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(16));
            } else {
                pause = Duration::from_secs(1);
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    /// The owner, taken over if need be; `None`: not now. Goes on when nobody waits any more.
    pub(super) async fn owner(self: &Arc<Self>, world: &Arc<World>) -> Option<Arc<Owner>> {
        if let Some(owner) = self.serving() {
            return Some(owner);
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(owner) = self.serving() {
            return Some(owner);
        }
        let (this, world) = (Arc::clone(self), Arc::clone(world));
        let taking = tokio::spawn(async move {
            let life = this.endpoint.life.clone();
            let taken = life.run(this.take_over(&world)).await;
            drop(turn);
            taken.flatten()
        });
        taking.await.ok().flatten()
    }

    async fn take_over(self: &Arc<Self>, world: &Arc<World>) -> Option<Arc<Owner>> {
        let failed = self.known().owner.take();
        if let Some(failed) = failed {
            failed.close().await;
            self.leases.release(failed.lease());
        }
        let (asked, node) = (Instant::now(), self.node);
        let owned = world
            .to_manager(&self.endpoint, ANSWER_MAX, move |management| async move {
                let call = OwnFilesystem { name: FILESYSTEM.to_owned(), shard: SHARD };
                management.own(call, node).await
            })
            .await;
        let ownership = owned.ok()?.ok()?;
        let held = Held { filesystem: ownership.filesystem.id, shard: SHARD, epoch: ownership.epoch };
        let after = Duration::from_millis(ownership.serve_after_ms.into()) * 1001 / 1000;
        let lease = Lease::new(held, asked, self.lease_of(ownership.lease_ms), Instant::now(), after);
        let lease = Arc::new(lease);
        self.leases.keep(&lease);
        let opened = self.open(world, &ownership, &lease).await;
        let Some(owner) = opened else {
            self.leases.release(&lease);
            sleep_until(lease.serves_after()).await;
            return None;
        };
        sleep_until(lease.serves_after()).await;
        let mut known = self.known();
        known.elsewhere = false;
        known.owner = Some(Arc::clone(&owner));
        drop(known);
        world.trace.note(format_args!("c{} serves under epoch {}", self.number, held.epoch));
        let (weak, this, job_world) = (Arc::downgrade(&owner), Arc::clone(self), Arc::clone(world));
        let _ = world.jobs.send(Box::new(move || {
            Box::pin(async move {
                let life = this.endpoint.life.clone();
                life.run(look_after(job_world, this, weak)).await;
            })
        }));
        Some(owner)
    }

    async fn open(
        self: &Arc<Self>,
        world: &Arc<World>,
        ownership: &Ownership,
        lease: &Arc<Lease>,
    ) -> Option<Arc<Owner>> {
        if self.view().map.is_none() {
            self.refresh(world).await;
        }
        self.view().map?;
        let held = lease.held();
        let keys = Keys::unwrap(ownership, world.cluster, &*world.kms, self.sources.clone()).await.ok()?;
        let way = Way { world: Arc::clone(world), process: Arc::clone(self) };
        let registry = Registry { world: Arc::clone(world), process: Arc::clone(self), held };
        let key = LogKey { filesystem: held.filesystem, shard: held.shard };
        let settings = LogSettings { checkpoint_bytes: 48 << 10, ..LogSettings::default() };
        let (row, grants) = (ownership.row.clone(), ownership.grants.clone());
        let log = match ReplicatedLog::take_over((way, registry), key, row, grants, settings).await {
            Ok(log) => log,
            Err(error) => {
                world.trace.note(format_args!("c{} does not take over: {error}", self.number));
                return None;
            }
        };
        let folder = self.index.parent().expect("it has a folder");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let index = match recover_index(&log, &self.index).await {
            Ok(Recovered { index, .. }) => index,
            Err(error) => {
                // Where the index lies is another place each time.
                let told = error.to_string().replace(&*self.index.to_string_lossy(), "of the node");
                world.trace.note(format_args!("c{} has no index: {told}", self.number));
                return None;
            }
        };
        let opening = Opening {
            lease: Arc::clone(lease),
            keys: Some(keys),
            sources: self.sources.clone(),
            settings: self.settings(world),
            deleting: false,
        };
        let Opened { owner, worker } = match opening.start(log, index) {
            Ok(opened) => opened,
            Err(error) => {
                world.trace.violate(
                    Invariant::Serves,
                    format_args!("c{} does not open its rows: {error}", self.number),
                );
                return None;
            }
        };
        let life = self.endpoint.life.clone();
        tokio::spawn(async move { life.run(worker.run()).await });
        let (life, progress) = (self.endpoint.life.clone(), owner.progress());
        world.begins(held.epoch, progress.borrow().durable);
        let watching = watch_commits(Arc::clone(world), held.epoch, progress);
        tokio::spawn(async move { life.run(watching).await });
        if self.reconcile(world, &owner).await.is_none() {
            owner.close().await;
            return None;
        }
        Some(Arc::new(owner))
    }

    /// Ends what sessions only one side knows.
    async fn reconcile(&self, world: &Arc<World>, owner: &Owner) -> Option<()> {
        let (held, node) = (owner.held(), self.node);
        let listed = world
            .to_manager(&self.endpoint, ANSWER_MAX, move |management| async move {
                management.sessions(&ListSessions { owner: held }, node)
            })
            .await;
        let registered = listed.ok()?.ok()?;
        for session in owner.reconcile_sessions(&registered).ok()? {
            let end = EndSession { owner: held, session };
            let ended = world.to_manager(&self.endpoint, ANSWER_MAX, move |management| async move {
                management.end(end, node).await
            });
            drop(ended.await);
        }
        Some(())
    }
}
