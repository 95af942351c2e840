//! Moving shards to where the map wants them.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use weft_layout::ClusterMap;
use weft_meta::ExtentRow;
use weft_meta::placed::{self, Cursor, Rehomed};
use weft_types::{DriveId, Epoch, ExtentId, GroupId};
use weft_wire::drive::ShardKey;
use weft_wire::ownership::DriveHome;

use super::homes::home;
use super::plan::{Plan, ShardMove, plan};
use super::seam::{changed, known};
use super::survey::Survey;
use super::{Care, CareError, ExtentRows, ReadFailure, ShardHomes, Unanswered};

/// Extent rows read in one go.
const PAGE: usize = 512;

impl Care {
    /// Acts on the newest map: fixes it as the oldest that anything is executed under, finds out where extents lie, moves
    /// those that can be moved, and deletes what was left at their old homes.
    ///
    /// # Errors
    /// [`CareError`]
    pub async fn place(&self, rows: &impl ExtentRows, homes: &impl ShardHomes) -> Result<(), CareError> {
        let Some(map) = homes.map().filter(|_| rows.may_act()) else { return Ok(()) };
        self.act_on(rows, &map).await?;
        self.delete_strays(rows, homes, &map).await?;
        let changed = self.state().survey.as_ref().is_none_or(|(version, _)| *version != map.version);
        let due = self.state().next_look.is_some_and(|at| at <= Instant::now());
        if !changed && !due {
            return Ok(());
        }
        let mut survey = self.look(rows, &map).await?;
        if self.has_settled() && survey.left() > 0 && !rows.is_dropping() {
            let before = survey.left();
            self.respread(rows, homes, &map, &mut survey).await?;
            let moved = before.saturating_sub(survey.left());
            if moved > 0 {
                tracing::info!(moved, left = survey.left(), "extents were moved");
            }
        }
        // Before it has settled, what can be moved is looked at again as soon as it has.
        let wait = if self.has_settled() { self.settings.again } else { self.settings.settle };
        let mut state = self.state();
        state.next_look = (survey.left() > 0).then(|| Instant::now() + wait);
        state.survey = Some((map.version, survey));
        Ok(())
    }

    /// From now on, and durably, nothing is committed that was written before a change in this map.
    async fn act_on(&self, rows: &impl ExtentRows, map: &Arc<ClusterMap>) -> Result<(), CareError> {
        if self.state().acted.as_ref().is_some_and(|acted| acted.version >= map.version) {
            return Ok(());
        }
        let seq = rows.act_on(map.version);
        rows.durable(seq).await.map_err(CareError::Ended)?;
        self.state().acted = Some(Arc::clone(map));
        Ok(())
    }

    /// Looks at all extents once, and moves those on whose shards lie right already.
    async fn look(&self, rows: &impl ExtentRows, map: &ClusterMap) -> Result<Survey, CareError> {
        let mut survey = Survey::default();
        if map.groups.iter().all(|group| group.history.is_empty()) {
            return Ok(survey);
        }
        let mut next = Some(Cursor::START);
        while let Some(from) = next {
            let page = known(rows, |tx| placed::extents(tx, from, PAGE)).await?;
            let mut at_home = Vec::new();
            for (id, row) in &page.extents {
                survey.see(map, row);
                if let Plan::Rehome(to) = plan(map, *id, row) {
                    at_home.push((row.group, Rehomed { extent: *id, from: row.group_epoch, to }));
                }
            }
            rehome(rows, &at_home, &mut survey).await?;
            next = page.next;
            tokio::task::yield_now().await;
        }
        Ok(survey)
    }

    /// Moves all extents that can be moved, those at the greatest risk first.
    async fn respread(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &ClusterMap,
        survey: &mut Survey,
    ) -> Result<(), CareError> {
        for (_, lists) in survey.by_risk(map) {
            let mut next = Some(Cursor::START);
            while let Some(from) = next {
                let newer = homes.map().is_none_or(|newest| newest.version != map.version);
                if newer || rows.is_dropping() || !rows.may_act() {
                    return Ok(());
                }
                let page = known(rows, |tx| placed::extents(tx, from, PAGE)).await?;
                next = page.next;
                let moving = page
                    .extents
                    .into_iter()
                    .filter(|(_, row)| row.died.is_none() && lists.contains(&(row.group, row.group_epoch)));
                let moving: Vec<_> = moving.collect();
                let moves = moving.iter().map(|(id, row)| self.move_extent(rows, homes, map, *id, row));
                let moved: Vec<_> = stream::iter(moves).buffered(self.settings.moves.max(1)).collect().await;
                let moved: Vec<_> = moved.into_iter().collect::<Result<Vec<_>, _>>()?;
                let at_home: Vec<_> = moved.iter().flatten().map(|moved| moved.rehomed).collect();
                rehome(rows, &at_home, survey).await?;
                for (id, row) in &moving {
                    if at_home.iter().any(|(_, rehomed)| rehomed.extent == *id) {
                        self.leave_strays(map, *id, row);
                    }
                }
                drop(moved);
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Puts the shards of an extent where they belong; `None` when not all of them could be.
    async fn move_extent(
        &self,
        rows: &impl ExtentRows,
        homes: &impl ShardHomes,
        map: &ClusterMap,
        id: ExtentId,
        row: &ExtentRow,
    ) -> Result<Option<Moved<'_>>, CareError> {
        let Plan::Copy(to, moves) = plan(map, id, row) else { return Ok(None) };
        let Some(taken) = self.busy.take(id) else { return Ok(None) };
        // From here on nobody else deletes what is copied.
        let unchanged = known(rows, |tx| placed::find(tx, id)).await?;
        if unchanged.as_ref() != Some(row)
            && unchanged.is_none_or(|found| found.group_epoch != row.group_epoch)
        {
            return Ok(None);
        }
        for one in &moves {
            if let Err(failure) = move_shard(homes, map, id, row, to, one).await {
                tracing::debug!(extent = %id, index = one.index.get(), %failure, "a shard is not moved");
                return Ok(None);
            }
        }
        let rehomed = Rehomed { extent: id, from: row.group_epoch, to };
        Ok(Some(Moved { rehomed: (row.group, rehomed), _taken: taken }))
    }
}

/// An extent whose shards are all where they belong; nobody else does anything to it until this is dropped.
struct Moved<'a> {
    rehomed: (GroupId, Rehomed),
    _taken: super::Taken<'a>,
}

/// Records that extents have moved on. Durable on return.
async fn rehome(
    rows: &impl ExtentRows,
    extents: &[(GroupId, Rehomed)],
    survey: &mut Survey,
) -> Result<(), CareError> {
    if extents.is_empty() {
        return Ok(());
    }
    let moved: Vec<_> = extents.iter().map(|(_, rehomed)| *rehomed).collect();
    changed(rows, |tx| placed::rehome(tx, &moved)).await?;
    extents.iter().for_each(|(group, rehomed)| survey.moved(*group, rehomed.from));
    Ok(())
}

/// Finds a shard at its new home, or copies it there.
async fn move_shard(
    homes: &impl ShardHomes,
    map: &ClusterMap,
    id: ExtentId,
    row: &ExtentRow,
    epoch: Epoch,
    one: &ShardMove,
) -> Result<(), ReadFailure> {
    let key = ShardKey { extent: id, index: one.index };
    let at = |drive: DriveId| map.drive(drive).map(home).ok_or(ReadFailure::Absent);
    let new = at(one.to)?;
    match homes.describe(new, key).await {
        Ok(header) if header.geometry == row.geometry => return Ok(()),
        Err(ReadFailure::Unanswered) => return Err(ReadFailure::Unanswered),
        _ => {}
    }
    let mut failure = ReadFailure::Absent;
    for from in one.from.iter().filter(|from| **from != one.to) {
        match copy_shard(homes, at(*from)?, new, key, row, epoch).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn copy_shard(
    homes: &impl ShardHomes,
    from: DriveHome,
    to: DriveHome,
    key: ShardKey,
    row: &ExtentRow,
    epoch: Epoch,
) -> Result<(), ReadFailure> {
    let mut header = homes.describe(from, key).await?;
    // Its header may name another group: one that the writer turned away from, while this drive is in both.
    if header.key != key || header.geometry != row.geometry {
        return Err(ReadFailure::Damaged);
    }
    let bytes = homes.read(from, key, row.geometry.shard_len(key.index)).await?;
    let digest = header.digests.get(key.index.get());
    if digest.is_none_or(|digest| blake3::hash(&bytes).as_bytes() != &digest.0) {
        tracing::warn!(extent = %key.extent, drive = %from.drive, "a shard does not match its digest");
        return Err(ReadFailure::Damaged);
    }
    (header.group, header.group_epoch) = (row.group, epoch);
    homes.put(to, header, bytes).await.map_err(|Unanswered| ReadFailure::Unanswered)
}
