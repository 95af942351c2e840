//! Finding shards that nobody names.

use std::time::Duration;

use tokio::time::Instant;
use weft_layout::ClusterMap;
use weft_meta::{placed, session};
use weft_types::{ExtentId, ExtentSeq, SessionId, ShardIndex};
use weft_wire::drive::ShardKey;
use weft_wire::ownership::DriveHome;

use super::seam::{changed, known};
use super::strays::Stray;
use super::verdict::{Verdict, verdict};
use super::{Care, CareError, ExtentRows, ShardHomes, answering, earlier};

/// Shards whose rows are read in one go.
const CHUNK: usize = 256;
/// Closed sessions that are looked at in one go: as many as are ever remembered.
const SESSIONS: usize = 1 << 16;
/// The pause between pages of a drive when all that it holds is looked at.
const PACE: Duration = Duration::from_millis(20);

impl Care {
    /// Deletes what sessions have left behind that are closed everywhere, and looks at all that a drive holds: soon after
    /// this owner began, after the drive came back, and every now and then.
    ///
    /// # Errors
    /// [`CareError`]; what was begun is begun anew when this is called again.
    pub async fn sweep(&self, rows: &impl ExtentRows, homes: &impl ShardHomes) -> Result<(), CareError> {
        if homes.map().is_some_and(|map| !map.is_any_up()) {
            return Ok(());
        }
        self.sweep_closed(rows, homes).await?;
        let Some(map) = self.state().acted.clone() else { return Ok(()) };
        for home in answering(&map) {
            let next = self.state().next_scrub.get(&home).copied();
            if !self.has_settled() || next.is_some_and(|next| next > Instant::now()) {
                continue;
            }
            let wait = match self.sweep_drive(rows, homes, home, None).await {
                Ok(()) => self.settings.scrub_every,
                // Those that answer are not kept waiting by one that does not.
                Err(CareError::Unanswered(_)) => self.settings.again,
                Err(error) => return Err(error),
            };
            self.state().next_scrub.insert(home, Instant::now() + wait);
        }
        Ok(())
    }

    /// Sweeps every drive for what closed sessions have left, and forgets those that are closed for long. Answers whether
    /// no drive holds anything any more that a closed session left behind.
    ///
    /// # Errors
    /// [`CareError`]; what was begun is begun anew when this is called again.
    pub async fn sweep_closed(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
    ) -> Result<bool, CareError> {
        let before = self.before(rows);
        let closed = known(rows, |tx| session::closed(tx, SESSIONS)).await?;
        let Some(map) = homes.map() else { return Ok(false) };
        let mut forgotten = Vec::new();
        let mut all = true;
        for (session, at) in closed {
            if at >= before {
                all = false;
                continue;
            }
            self.sweep_session(rows, homes, &map, session).await?;
            let is_old = at < earlier(rows.now(), self.settings.remember_closed);
            let is_swept = self.is_swept(&map, session);
            all &= is_swept;
            if is_old && is_swept {
                forgotten.push(session);
            }
        }
        if !forgotten.is_empty() {
            changed(rows, |tx| session::forget_closed(tx, &forgotten)).await?;
            let mut state = self.state();
            forgotten.iter().for_each(|session| drop(state.swept.remove(session)));
        }
        Ok(all)
    }

    async fn sweep_session(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &ClusterMap,
        session: SessionId,
    ) -> Result<(), CareError> {
        for home in answering(map) {
            if self.state().swept.get(&session).is_some_and(|swept| swept.contains(&home)) {
                continue;
            }
            match self.sweep_drive(rows, homes, home, Some(session)).await {
                Ok(()) => drop(self.state().swept.entry(session).or_default().insert(home)),
                Err(CareError::Unanswered(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_swept(&self, map: &ClusterMap, session: SessionId) -> bool {
        let state = self.state();
        let swept = state.swept.get(&session);
        map.drives.iter().all(|drive| swept.is_some_and(|swept| swept.contains(&super::homes::home(drive))))
    }

    /// Looks at the shards that a drive holds, of one session or all, deletes orphans, and remembers strays.
    async fn sweep_drive(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        home: DriveHome,
        only: Option<SessionId>,
    ) -> Result<(), CareError> {
        let mut after = only.and_then(last_before);
        let mut deleted = 0;
        loop {
            let page = homes.list(home, after).await?;
            let Some(last) = page.last().copied() else { break };
            let wanted = |key: &&ShardKey| only.is_none_or(|only| key.extent.session == only);
            let keys: Vec<_> = page.iter().filter(wanted).copied().collect();
            for keys in keys.chunks(CHUNK) {
                deleted += self.judge(rows, homes, home, keys).await?;
                tokio::task::yield_now().await;
            }
            if only.is_some_and(|only| last.extent.session > only) {
                break;
            }
            after = Some(last);
            if only.is_none() {
                tokio::time::sleep(PACE).await;
            }
        }
        if deleted > 0 {
            tracing::info!(drive = %home.drive, deleted, "shards that nobody names were deleted");
        }
        Ok(())
    }

    /// Deletes those of a drive's shards that are orphans, and remembers strays. The drive had them before this is called.
    async fn judge(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        home: DriveHome,
        keys: &[ShardKey],
    ) -> Result<usize, CareError> {
        let Some(map) = homes.map() else { return Ok(0) };
        let before = self.before(rows);
        let verdicts = known(rows, |tx| {
            keys.iter()
                .map(|key| {
                    let row = placed::find(tx, key.extent)?;
                    let session = session::state(tx, key.extent.session)?;
                    Ok(verdict(&map, home.drive, *key, row.as_ref(), session, before))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        let verdicts = verdicts.await?;
        let of = |wanted: Verdict| {
            let both = keys.iter().zip(&verdicts);
            both.filter(move |(_, found)| **found == wanted).map(|(key, _)| *key)
        };
        let due = Instant::now() + self.settings.deletion_delay;
        of(Verdict::Stray).for_each(|key| self.state().strays.push(Stray { due, home, key }));
        let orphans: Vec<_> = of(Verdict::Orphan).collect();
        let count = orphans.len();
        if count > 0 && rows.may_act() {
            homes.delete(home, orphans).await?;
            self.count_deleted(count);
        }
        Ok(count)
    }
}

/// The last key that a shard of an earlier session can have; `None` for the first session.
fn last_before(session: SessionId) -> Option<ShardKey> {
    let earlier = u128::from_be_bytes(session.to_bytes()).checked_sub(1)?;
    let session = SessionId::from_bytes(earlier.to_be_bytes());
    let extent = ExtentId { session, seq: ExtentSeq::new(u64::MAX) };
    Some(ShardKey { extent, index: ShardIndex::new(u8::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_listed_from_behind_the_one_before() {
        let session = |bytes| SessionId::from_bytes(bytes);
        assert_eq!(last_before(session([0; 16])), None);
        let mut number = [0; 16];
        number[14] = 1;
        let before = last_before(session(number)).expect("there are some before");
        let first = ShardKey {
            extent: ExtentId { session: session(number), seq: ExtentSeq::new(0) },
            index: ShardIndex::new(0),
        };
        assert!(before < first && before.extent.session < first.extent.session);
        number[14..].copy_from_slice(&[0, 0xff]);
        assert_eq!(before.extent.session, session(number));
    }
}
