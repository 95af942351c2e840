//! What a compute process answers to frontends.

use core::time::Duration;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;
use weft_compute::{Owner, SessionOpening, must_wait, needs_newer_map};
use weft_core::Failure;
use weft_meta::is_mutation;
use weft_types::{NodeId, SlotId, SlotSeq};
use weft_wire::Fault;
use weft_wire::coherence::{AckRecalls, Acked, Attach, Place, Recalls, WatchRecalls};
use weft_wire::compute::{
    CloseSession, Meta, MetaDone, OpenRefusal, OpenSession, RenewSession, SessionClosed, SessionGone,
    SessionOpened, SessionRenewed,
};
use weft_wire::locks::{Lock, LockRefusal, Locked, Reclaim, Reclaimed};
use weft_wire::meta::MetaError;
use weft_wire::ownership::{EndSession, RegisterSession, SwapRefusal};

use super::Process;
use crate::net::{Endpoint, NoAnswer, Node};
use crate::simulate::Bug;
use crate::world::World;

/// How long management may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// An answer as a frontend hears it.
pub(crate) type Served<T, R> = Result<T, Failure<R>>;

/// Owners fail in these ways alone.
fn fault<R>(fault: Fault) -> Failure<R> {
    match fault {
        Fault::Internal => Failure::Unreachable,
        fault if fault.is_retryable() => Failure::Busy,
        _ => Failure::Broken,
    }
}

impl World {
    /// Calls a compute process.
    pub(crate) async fn to_compute<T, R, S>(
        self: &Arc<Self>,
        from: &Endpoint,
        number: usize,
        deadline: Duration,
        act: impl Fn(Arc<Self>, Arc<Process>) -> S + Send + Sync + 'static,
    ) -> Served<T, R>
    where
        T: Send + 'static,
        R: Send + 'static,
        S: Future<Output = Served<T, R>> + Send + 'static,
    {
        let act = Arc::new(act);
        let serve = move |world: Arc<Self>| {
            let act = Arc::clone(&act);
            async move {
                let process = world.computes[number].process()?;
                let life = process.endpoint.life.clone();
                life.run(act(world, process)).await
            }
        };
        match self.call(from, Node::Compute(number), deadline, serve).await {
            Ok(answer) => answer,
            Err(NoAnswer::Unreachable) => Err(Failure::Unreachable),
            Err(NoAnswer::TimedOut) => Err(Failure::TimedOut),
        }
    }
}

impl Process {
    async fn owner_now<R>(self: &Arc<Self>, world: &Arc<World>) -> Served<Arc<Owner>, R> {
        self.owner(world).await.ok_or(Failure::Busy)
    }

    /// Answers [`OpenSession`].
    pub(crate) async fn open_session(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: OpenSession,
    ) -> Served<SessionOpened, OpenRefusal> {
        let owner = self.owner_now(&world).await?;
        owner.may_open(node, &call, Instant::now()).map_err(fault)?.map_err(Failure::Refused)?;
        let (register, asker) = (RegisterSession { owner: owner.held(), node }, self.node);
        let registered = world
            .to_manager(&self.endpoint, ANSWER_MAX, move |management| async move {
                management.register(register, asker).await
            })
            .await;
        let registered = match registered {
            Ok(Ok(registered)) => registered,
            Ok(Err(SwapRefusal::Deposed { .. })) => {
                owner.lease().depose();
                return Err(Failure::Busy);
            }
            _ => return Err(Failure::Busy),
        };
        let session = registered.session;
        let opening = owner.open_session(node, &call, session, Instant::now());
        let Ok(SessionOpening::Opened { durable_with, place, others }) = opening else {
            let end = EndSession { owner: owner.held(), session };
            let ended = world.to_manager(&self.endpoint, ANSWER_MAX, move |management| async move {
                management.end(end, asker).await
            });
            drop(ended.await);
            return match opening.map_err(fault)? {
                SessionOpening::Refused(refusal) => Err(Failure::Refused(refusal)),
                SessionOpening::Opened { .. } => Err(Failure::Unreachable),
            };
        };
        owner.answerable(durable_with).await.map_err(fault)?;
        world.trace.note(format_args!("c{} opens session {}", self.number, session.short()));
        Ok(SessionOpened {
            session,
            filesystem: owner.filesystem(),
            lease_ms: self.lease_ms(&world),
            slots: self.settings(&world).slots,
            grant: registered.grant,
            place,
            others,
        })
    }

    /// Answers [`RenewSession`].
    pub(crate) async fn renew_session(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: RenewSession,
    ) -> Served<SessionRenewed, SessionGone> {
        let received = Instant::now();
        let owner = self.owner_now(&world).await?;
        let renewed = owner.renew_session(node, call.session, received).map_err(fault)?;
        let lease_ms = self.lease_ms(&world);
        let (epoch, reclaim) = (owner.held().epoch, owner.awaits(call.session));
        if renewed {
            Ok(SessionRenewed { lease_ms, epoch, reclaim })
        } else {
            Err(Failure::Refused(SessionGone::Ended))
        }
    }

    /// Answers [`Attach`].
    pub(crate) async fn attach(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: Attach,
    ) -> Served<Place, SessionGone> {
        let owner = self.owner_now(&world).await?;
        owner.attach(node, &call, Instant::now()).map_err(fault)?.map_err(Failure::Refused)
    }

    /// Answers [`WatchRecalls`].
    pub(crate) async fn recalls(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: WatchRecalls,
    ) -> Served<Recalls, SessionGone> {
        let owner = self.owner_now(&world).await?;
        owner.recalls(node, &call, Instant::now()).await.map_err(fault)?.map_err(Failure::Refused)
    }

    /// Answers [`AckRecalls`].
    pub(crate) async fn acknowledge(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: AckRecalls,
    ) -> Served<Acked, SessionGone> {
        let owner = self.owner_now(&world).await?;
        let heard = owner.acknowledge(node, &call, Instant::now()).map_err(fault)?;
        if heard { Ok(Acked {}) } else { Err(Failure::Refused(SessionGone::Ended)) }
    }

    /// Answers [`CloseSession`].
    pub(crate) async fn close_session(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: CloseSession,
    ) -> Served<SessionClosed, SessionGone> {
        let owner = self.owner_now(&world).await?;
        let closed = owner.close_session(node, call.session, Instant::now()).map_err(fault)?;
        let durable_with = closed.ok_or(Failure::Refused(SessionGone::Ended))?;
        owner.answerable(durable_with).await.map_err(fault)?;
        Ok(SessionClosed {})
    }

    /// Answers [`Lock`].
    pub(crate) async fn lock(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: Lock,
    ) -> Served<Locked, LockRefusal> {
        let owner = self.owner_now(&world).await?;
        owner.lock(node, &call).await.map_err(fault)?.map_err(Failure::Refused)
    }

    /// Answers [`Reclaim`].
    pub(crate) async fn reclaim(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        call: Reclaim,
    ) -> Served<Reclaimed, LockRefusal> {
        let owner = self.owner_now(&world).await?;
        owner.reclaim(node, &call).await.map_err(fault)?.map_err(Failure::Refused)
    }

    /// Answers [`Meta`].
    pub(crate) async fn meta(
        self: Arc<Self>,
        world: Arc<World>,
        node: NodeId,
        mut call: Meta,
    ) -> Served<MetaDone, MetaError> {
        let owner = self.owner_now(&world).await?;
        if needs_newer_map(&call.op, &self.view()) {
            self.refresh(&world).await;
        }
        if must_wait(&call.op, &self.view()) {
            return Err(Failure::Busy);
        }
        let asked = call.clone();
        if world.options.bug == Some(Bug::RetryTwice) && is_mutation(&call.op) {
            // Each arrival is in a slot's next turn: what was answered is forgotten.
            let mut forgotten = world.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = forgotten.entry(call.session).or_default();
            (call.slot, call.seq) = (SlotId::new((*turn % 64) as u16), SlotSeq::new(1 + *turn / 64));
            *turn += 1;
        }
        let view = || self.view();
        let answer = owner.meta(node, &call, view).await.map_err(fault)?;
        if is_mutation(&asked.op) {
            world.answers(&asked, &answer.clone().map(|done| done.reply));
        }
        answer.map_err(Failure::Refused)
    }

    fn lease_ms(&self, world: &World) -> u32 {
        u32::try_from(self.settings(world).lease.as_millis()).unwrap_or(u32::MAX)
    }
}
