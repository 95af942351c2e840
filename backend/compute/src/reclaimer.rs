//! Background tasks of an owner: sessions expire, work is finished, garbage is collected.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use weft_meta::reclaim;
use weft_types::Timestamp;
use weft_wire::meta::MetaError;

use crate::owner::Owner;
use crate::settings::ComputeSettings;
use crate::shards::ShardDeleter;

/// Dead extents looked at in one go.
const PAGE: usize = 1024;
/// How long to wait after something that should not happen.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks after an owner until it is gone, fails, or is dropped.
pub(crate) async fn look_after(owner: Weak<Owner>, deleter: Arc<ShardDeleter>, settings: ComputeSettings) {
    tokio::join!(
        expire(owner.clone(), settings),
        finish_work(owner.clone()),
        reclaim_garbage(owner, deleter, settings),
    );
}

fn alive(owner: &Weak<Owner>) -> Option<Arc<Owner>> {
    owner.upgrade().filter(|owner| owner.is_serving() && !owner.is_dropping())
}

async fn expire(owner: Weak<Owner>, settings: ComputeSettings) {
    loop {
        tokio::time::sleep(settings.tick).await;
        let Some(owner) = alive(&owner) else { return };
        if let Err(error) = owner.expire(Instant::now()) {
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

async fn reclaim_garbage(owner: Weak<Owner>, deleter: Arc<ShardDeleter>, settings: ComputeSettings) {
    loop {
        tokio::time::sleep(settings.tick).await;
        let Some(owner) = alive(&owner) else { return };
        match reclaim_once(&owner, &deleter, settings.deletion_delay).await {
            Ok(left) => owner.set_garbage(left),
            Err(error) => {
                tracing::error!(%error, ?owner, "garbage is left");
                drop(owner);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Goes once through the dead extents that are old enough, and answers how many of them are left.
pub(crate) async fn reclaim_once(
    owner: &Owner,
    deleter: &ShardDeleter,
    delay: Duration,
) -> Result<u64, MetaError> {
    let before = earlier(owner.now(), delay);
    let (mut after, mut left) = (None, 0);
    loop {
        let page = owner.read(|tx| reclaim::dead_extents(tx, before, after, PAGE))?;
        if !page.extents.is_empty() {
            let gone = deleter.delete(&page.extents).await;
            left += (page.extents.len() - gone.len()) as u64;
            if !gone.is_empty() {
                let ((), seq) = owner.change(|tx| reclaim::forget(tx, &gone))?;
                if owner.durable(seq).await.is_err() {
                    return Ok(left);
                }
            }
        }
        after = page.next;
        if after.is_none() || owner.is_dropping() {
            return Ok(left);
        }
        tokio::task::yield_now().await;
    }
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds: time.seconds.saturating_sub(seconds), nanos: time.nanos }
}
