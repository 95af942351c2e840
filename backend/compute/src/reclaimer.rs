//! Background tasks of an owner: sessions expire, work is finished, and care is taken of extents.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use weft_meta::Transaction;
use weft_types::{MapVersion, Timestamp};
use weft_wire::Fault;
use weft_wire::meta::MetaError;
use weft_wire::ownership::Held;

use crate::care::{Care, CareError, CareSettings, ExtentRows};
use crate::owner::Owner;
use crate::settings::ComputeSettings;
use crate::shards::ShardDeleter;

/// How long to wait after something that should not happen.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks after an owner until it is gone or fails. While its filesystem is being dropped, management is told where what is
/// left lies: other drives and groups wait for that.
pub(crate) async fn look_after(owner: Weak<Owner>, deleter: Arc<ShardDeleter>, settings: ComputeSettings) {
    let care = Care::new(CareSettings { deletion_delay: settings.deletion_delay, ..CareSettings::default() });
    let (care, deleter) = (&care, &deleter);
    let homes = deleter.homes();
    tokio::join!(
        expire(owner.clone(), settings),
        finish_work(owner.clone()),
        again(&owner, settings, "garbage is left", async |owner| {
            if !owner.is_dropping() {
                owner.set_garbage(care.reclaim(owner, deleter).await?);
            }
            Ok(())
        }),
        again(&owner, settings, "shards are not where they belong", async |owner| {
            care.place(owner, homes).await
        }),
        again(&owner, settings, "a drive is not compared", async |owner| care.compare(owner, homes).await),
        again(&owner, settings, "orphans are left", async |owner| {
            if owner.is_dropping() { Ok(()) } else { care.sweep(owner, homes).await }
        }),
        again(&owner, settings, "management is not told", async |owner| {
            care.report(owner, homes).await;
            owner.set_care(care.counts());
            Ok(())
        }),
    );
}

/// Deletes what sessions have left behind that ended before their filesystem was dropped, all of it: its extents are gone.
///
/// # Errors
/// [`CareError`] but that a drive does not answer, for which it waits.
pub(crate) async fn sweep_dropped(owner: &Owner, deleter: &ShardDeleter) -> Result<(), CareError> {
    // Nobody reads any more.
    let care = Care::new(CareSettings { deletion_delay: Duration::ZERO, ..CareSettings::default() });
    while !care.sweep_closed(owner, deleter.homes()).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn alive(owner: &Weak<Owner>) -> Option<Arc<Owner>> {
    owner.upgrade().filter(|owner| owner.is_serving() && !owner.is_dropping())
}

/// Does something every tick, for as long as the owner serves.
async fn again(
    owner: &Weak<Owner>,
    settings: ComputeSettings,
    failure: &str,
    act: impl AsyncFn(&Owner) -> Result<(), CareError>,
) {
    loop {
        tokio::time::sleep(settings.tick).await;
        let Some(held) = owner.upgrade().filter(|owner| owner.is_serving()) else { return };
        match act(&held).await {
            Ok(()) => {}
            Err(CareError::Ended(_)) => return,
            Err(error @ CareError::Unanswered(_)) => tracing::debug!(%error, owner = ?held, "{failure}"),
            Err(error @ CareError::Rows(_)) => {
                tracing::error!(%error, owner = ?held, "{failure}");
                drop(held);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn expire(owner: Weak<Owner>, settings: ComputeSettings) {
    loop {
        tokio::time::sleep(settings.tick).await;
        let Some(owner) = alive(&owner) else { return };
        let now = Instant::now();
        if !owner.attend(now) {
            continue;
        }
        if let Err(error) = owner.expire(now) {
            tracing::error!(%error, ?owner, "sessions do not expire");
        }
    }
}

async fn finish_work(owner: Weak<Owner>) {
    loop {
        let Some(held) = alive(&owner) else { return };
        match held.work() {
            // Each piece is durable before the next, so that work never crowds out operations.
            Ok(Some(seq)) => {
                if held.durable(seq).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                if !held.has_work().await {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, owner = ?held, "work is left");
                drop(held);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl ExtentRows for Owner {
    fn held(&self) -> Held {
        Self::held(self)
    }

    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn may_act(&self) -> bool {
        self.is_serving() && self.lease().check(Instant::now()).is_ok()
    }

    fn is_dropping(&self) -> bool {
        Self::is_dropping(self)
    }

    fn look<T>(
        &self,
        read: impl FnOnce(&dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        Self::look(self, |tx| read(tx))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, MetaError>,
    ) -> Result<(T, u64), MetaError> {
        Self::change(self, |tx| change(tx))
    }

    fn act_on(&self, map: MapVersion) -> u64 {
        Self::act_on(self, map)
    }

    async fn durable(&self, seq: u64) -> Result<(), Fault> {
        Self::durable(self, seq).await
    }
}
