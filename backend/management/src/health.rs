//! From the health of drives and the reports of owners to the next map. Pure.

use weft_layout::{ClusterMap, DriveEntry, DriveState, Move, PlaceError, place};
use weft_types::{DriveId, GroupId};

use crate::care::{Care, Owned, drop_proven};

/// A map that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextMap {
    /// The map, with the next version.
    pub map: ClusterMap,
    /// What became of drives: which one, what it was, what it is.
    pub states: Vec<(DriveId, DriveState, DriveState)>,
    /// Slots that change hands.
    pub moves: Vec<Move>,
    /// Groups that cannot change although they should.
    pub held_back: Vec<GroupId>,
    /// Why no slots changed hands.
    pub not_placed: Option<PlaceError>,
    /// Earlier lists of groups that no extent lies by any more.
    pub proven: usize,
}

/// Drives that return and are not compared yet, while no drive is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stragglers {
    /// Those that are compared wait for them.
    Awaited,
    /// They are not waited for any longer: one of them that never answers must not keep all from counting.
    Left,
}

/// The map after these drives were found up or down, and after what owners reported; `None` when it stays.
///
/// A drive that was down and speaks returns; it is up once every owner has compared it with its extent rows. When no
/// drive is up, all that return become so in one version, as long as they are awaited: until then nothing is deleted, and
/// no group is moved to the few that were compared first. States, proven lists and placement change in one version, so that writes go to healthy
/// drives with the first map that says that a drive is down.
pub(crate) fn next_map(
    map: &ClusterMap,
    found: &[(DriveId, DriveState)],
    care: &Care,
    owned: &[Owned],
    stragglers: Stragglers,
) -> Option<NextMap> {
    let mut next = map.clone();
    next.version = map.version.next();
    for drive in &mut next.drives {
        let state = found.iter().find(|(id, _)| *id == drive.id).map_or(drive.state, |(_, state)| *state);
        if state == DriveState::Returning && drive.state != DriveState::Returning {
            drive.returned = next.version;
        }
        drive.state = state;
    }
    let counted = count_compared(&mut next, care, owned, stragglers);
    let changes = map.drives.iter().zip(&next.drives).filter(|(was, is)| was.state != is.state);
    let states: Vec<_> = changes.map(|(was, is)| (was.id, was.state, is.state)).collect();
    let proven = drop_proven(&mut next, care, owned);
    if states.is_empty() && proven == 0 && !counted {
        return None;
    }
    let unchanged = |map, not_placed| NextMap {
        map,
        states: states.clone(),
        moves: Vec::new(),
        held_back: Vec::new(),
        not_placed,
        proven,
    };
    Some(match place(&next) {
        Ok(placed) => {
            let mut map = ClusterMap { version: next.version, ..placed.map };
            // The lists that just became earlier ones: without any extents they are empty.
            drop_proven(&mut map, care, owned);
            NextMap { moves: placed.moves, held_back: placed.held_back, ..unchanged(map, None) }
        }
        Err(error) => unchanged(next, Some(error)),
    })
}

/// Drives that were compared count what they lack, and are up. Answers whether one counts anew.
fn count_compared(map: &mut ClusterMap, care: &Care, owned: &[Owned], stragglers: Stragglers) -> bool {
    let returns = |drive: &DriveEntry| drive.state == DriveState::Returning;
    let waits = |drive: &&DriveEntry| returns(drive) && care.missing(drive, owned).is_none();
    let may_count =
        map.is_any_up() || stragglers == Stragglers::Left || !map.drives.iter().any(|drive| waits(&drive));
    let mut counted = false;
    for drive in &mut map.drives {
        // Drives that came back, and those found to lack shards then: rebuilt ones count again.
        let compared =
            returns(drive) && may_count || drive.state != DriveState::Returning && drive.missing > 0;
        let Some(missing) = care.missing(drive, owned).filter(|_| compared) else { continue };
        counted |= drive.missing != missing;
        drive.missing = missing;
        if returns(drive) {
            drive.state = DriveState::Up;
        }
    }
    counted
}

#[cfg(test)]
mod tests;
