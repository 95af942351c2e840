//! Management: the production's, over copies of its store on the simulated drives.

use core::time::Duration;
use std::sync::{Arc, OnceLock, PoisonError};

use bytes::Bytes;
use weft_drive::custody::Copying;
use weft_engine::store::{StoreCallError, StoreDrives};
use weft_management::simulation::Simulated;
use weft_transport::{Pool, PoolSettings};
use weft_types::{DriveId, NodeId, Role, Timestamp};
use weft_wire::store::{OpenStore, PutStore, StoreHeld, StoreTaken};

use crate::drives::{drive_id, drive_number};
use crate::net::{Endpoint, Life, NoAnswer, Node};
use crate::world::World;

/// The node of management.
pub(crate) const MANAGER: NodeId = NodeId::from_bytes([0x21; 16]);
/// How long a drive may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Management that runs.
#[derive(Clone)]
pub(crate) struct Managing {
    /// Its life.
    pub(crate) life: Life,
    /// `None` until its store is open.
    pub(crate) management: Option<Simulated>,
}

/// The way from management to the drives.
struct Way {
    world: Arc<World>,
    from: Endpoint,
}

fn none(no: NoAnswer) -> StoreCallError {
    StoreCallError::NoAnswer { reason: format!("{no:?}") }
}

impl StoreDrives for Way {
    fn open(
        &self,
        drive: DriveId,
        call: OpenStore,
    ) -> impl Future<Output = Result<(StoreHeld, Bytes), StoreCallError>> + Send + 'static {
        let (world, from) = (Arc::clone(&self.world), self.from.clone());
        async move {
            let asked = world.to_drive(&from, drive_number(drive), ANSWER_MAX, move |_, local| {
                local.open_store(MANAGER, call)
            });
            asked.await.map_err(none)?.map_err(StoreCallError::Refused)
        }
    }

    fn put(
        &self,
        drive: DriveId,
        call: PutStore,
        copy: Bytes,
    ) -> impl Future<Output = Result<StoreTaken, StoreCallError>> + Send + 'static {
        let (world, from) = (Arc::clone(&self.world), self.from.clone());
        async move {
            let put = world.to_drive(&from, drive_number(drive), ANSWER_MAX, move |_, local| {
                local.run::<Copying>(MANAGER, call, copy.clone())
            });
            put.await.map_err(none)?.map_err(StoreCallError::Refused)
        }
    }
}

/// Calls that no simulation makes go here.
fn pool() -> Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
        let authority = crate::keys::authority();
        let node =
            weft_pki::NodeIdentity { cluster: authority.cluster(), role: Role::Management, node: MANAGER };
        let now = Timestamp { seconds: 1_790_000_000, nanos: 0 };
        let validity = weft_pki::Validity::of_a_node(now).expect("dated");
        let credentials = authority.issue(node, validity).expect("issued");
        let pool =
            Pool::new(runtime.handle().clone(), &credentials, PoolSettings::default()).expect("a pool");
        // It is never driven, and lasts as long as the process.
        std::mem::forget(runtime);
        pool
    };
    POOL.get_or_init(make).clone()
}

impl World {
    /// What runs as management.
    pub(crate) fn managing(&self) -> Option<Managing> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_managing(&self, managing: Option<Managing>) {
        *self.manager.lock().unwrap_or_else(PoisonError::into_inner) = managing;
    }

    /// Its process ends here.
    pub(crate) fn stop_manager(&self) {
        if let Some(managing) = self.managing() {
            managing.life.end();
            self.set_managing(None);
        }
    }

    /// Starts management, unless it runs. When its store does not open, or another has it, it ends.
    pub(crate) fn start_manager(self: &Arc<Self>) {
        if self.managing().is_some_and(|managing| !managing.life.is_over()) {
            return;
        }
        let life = Life::begin();
        self.set_managing(Some(Managing { life: life.clone(), management: None }));
        let world = Arc::clone(self);
        let _ = self.jobs.send(Box::new(move || {
            Box::pin(async move {
                let managed = world.clone().manage(life.clone());
                let ended = life.run(managed).await;
                if let Some(reason) = ended {
                    world.trace.note(format_args!("m ends: {reason}"));
                    life.end();
                }
            })
        }));
    }

    async fn manage(self: Arc<Self>, life: Life) -> String {
        let from = Endpoint { node: Node::Management, life: life.clone() };
        let way = Arc::new(Way { world: Arc::clone(&self), from });
        let places = (0..self.drives.len()).map(drive_id).collect();
        let opened = Simulated::open(way, places, self.cluster, Arc::clone(&self.kms), pool()).await;
        let (management, background) = match opened {
            Ok(opened) => opened,
            Err(error) => return format!("the store is not opened: {error:?}"),
        };
        self.trace.note(format_args!("m runs"));
        self.set_managing(Some(Managing { life, management: Some(management) }));
        format!("{:?}", background.await)
    }

    /// Calls management.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub(crate) async fn to_manager<T, S>(
        self: &Arc<Self>,
        from: &Endpoint,
        deadline: Duration,
        act: impl Fn(Simulated) -> S + Send + Sync + 'static,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        S: Future<Output = T> + Send + 'static,
    {
        let act = Arc::new(act);
        let serve = move |world: Arc<Self>| {
            let act = Arc::clone(&act);
            async move {
                let Managing { life, management } = world.managing()?;
                let work = act(management?);
                life.run(work).await
            }
        };
        self.call(from, Node::Management, deadline, serve).await
    }
}
