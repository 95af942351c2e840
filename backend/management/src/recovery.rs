//! Opening the cluster store from what is left of it.

use std::collections::BTreeSet;

use tokio::runtime::Handle;
use weft_engine::store::{QuorumStore, Remembered, above_the_unseen, recover_store};
use weft_layout::DriveState;
use weft_pki::Credentials;
use weft_transport::{Pool, PoolSettings};
use weft_types::DriveId;

use crate::contents::Contents;
use crate::process::{ManagementConfig, StartError, store_settings};
use crate::voters::choose_voters;

/// What recovery made of the cluster store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The drives that vote from now on.
    pub voters: Vec<DriveId>,
    /// Drives that did not answer: what they alone know is lost, and they count as down.
    pub left_out: Vec<DriveId>,
}

/// Opens the store from fewer than a majority of its voters, on the word of a person who accepts that the newest
/// changes may be lost. The drives that answer vote from now on; the term and every ownership epoch are above all that
/// they saw, and above what the others may have seen. Durable on them on return; management can be started then.
///
/// # Errors
/// [`StartError`]; the store is as it was, unless the drives took too few copies.
pub async fn recover_accepting_loss(
    config: ManagementConfig,
    credentials: &Credentials,
) -> Result<Recovered, StartError> {
    let pool = Pool::new(Handle::current(), credentials, PoolSettings::default());
    let pool = pool.map_err(StartError::Calls)?;
    let settings = store_settings(config, &pool).await?;
    let opened = recover_store(settings, go_on_with).await;
    let (store, _): (QuorumStore<Contents>, _) = opened?;
    let contents = store.contents();
    let left_out = contents.map.drives.iter().filter(|drive| drive.state == DriveState::Down);
    let recovered = Recovered {
        voters: contents.voters.current.iter().map(|home| home.drive).collect(),
        left_out: left_out.map(|drive| drive.id).collect(),
    };
    pool.close().await;
    Ok(recovered)
}

/// Makes of the newest contents what can go on with these drives alone.
fn go_on_with(contents: &mut Contents, remembered: &Remembered<'_>) {
    let living: BTreeSet<_> = remembered.drives.iter().map(|home| (home.drive, home.incarnation)).collect();
    let map = &mut contents.map;
    map.version = map.version.next();
    for drive in &mut map.drives {
        if !living.contains(&(drive.id, drive.incarnation)) {
            drive.state = DriveState::Down;
        } else if drive.state == DriveState::Up {
            // Changes of the map may be lost, and the newest of metadata: what the drive has is compared before it
            // counts, and before anything is deleted.
            (drive.state, drive.returned) = (DriveState::Returning, map.version);
        }
    }
    let mut voting = map.clone();
    voting.drives.retain(|drive| living.contains(&(drive.id, drive.incarnation)));
    contents.voters = choose_voters(&voting);
    for filesystem in &mut contents.filesystems {
        for state in &mut filesystem.shards {
            let log = weft_wire::log::LogKey { filesystem: filesystem.id, shard: state.shard };
            let seen = remembered.epochs.get(&log).copied().unwrap_or_default();
            // The next owner takes the one after it.
            state.row.epoch = above_the_unseen(state.row.epoch.max(seen));
            state.row.version += 1;
            state.contested = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::collections::BTreeMap;
    use weft_types::{Epoch, MetadataShard, NodeId};
    use weft_wire::log::LogKey;
    use weft_wire::ownership::DriveHome;

    #[test]
    fn what_goes_on_is_above_all_that_was_seen_and_votes_among_the_living() {
        let mut contents = fixture::contents();
        let shard = MetadataShard::new(0);
        contents.create(fixture::filesystem("home")).expect("created");
        let owner = NodeId::from_bytes([7; 16]);
        let taken = contents.take_ownership("home", shard, owner, |_, _| false).expect("owned");
        let log = LogKey { filesystem: taken.filesystem.id, shard };
        let homes = contents.map.drives[3..].iter();
        let homes = homes.map(|drive| DriveHome { drive: drive.id, incarnation: drive.incarnation });
        let (drives, epochs) = (homes.collect(), BTreeMap::from([(log, Epoch::new(9))]));
        let before = contents.map.version;
        go_on_with(&mut contents, &Remembered { drives: &drives, epochs: &epochs });
        assert_eq!(contents.voters.all(), drives);
        assert_eq!(contents.map.version, before.next());
        let (lost, living) = contents.map.drives.split_at(3);
        assert!(lost.iter().all(|drive| drive.state == DriveState::Down));
        let compared_first = (DriveState::Returning, before.next());
        assert!(living.iter().all(|drive| (drive.state, drive.returned) == compared_first));
        let row = contents.shard(log.filesystem, shard).expect("there");
        assert_eq!((row.epoch, row.version), (above_the_unseen(Epoch::new(9)), 2));
    }
}
