//! What drives answer while the store is opened, and what follows from it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use weft_keys::ClusterKey;
use weft_types::{ClusterId, DriveId, Epoch, StoreVersion};
use weft_wire::log::LogKey;
use weft_wire::ownership::DriveHome;
use weft_wire::store::StoreHeld;

use super::copy::{CopyError, StoreCopy, StoreHeader};
use super::drives::StoreContents;
use super::version::term_of;
use super::voters::Voters;

/// A copy that opened.
#[derive(Clone)]
pub(super) struct Found<C> {
    pub(super) header: StoreHeader,
    pub(super) contents: C,
}

/// Why a drive's copy is not counted.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCopy {
    /// Its bytes, or its seal.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// What is in it.
    #[error("it opened, and cannot be used")]
    Contents(#[source] Box<dyn core::error::Error + Send + Sync>),
}

struct Answer<C> {
    home: DriveHome,
    held: StoreHeld,
    found: Option<Arc<Found<C>>>,
}

/// What a drive remembers that the newest copy does not know of: the copy is an old one that was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Behind {
    /// A later version.
    #[error("drive {} saw version {} of the cluster store, and the newest copy is {}", drive.short(), super::version::Shown(*seen), super::version::Shown(*found))]
    Version {
        /// Who remembers.
        drive: DriveId,
        /// The version that it saw.
        seen: StoreVersion,
        /// The newest that was found.
        found: StoreVersion,
    },
    /// A later ownership.
    #[error("drive {} saw ownership {seen} of a metadata shard of filesystem {}, and the newest copy of the cluster store knows {found}", drive.short(), log.filesystem)]
    Ownership {
        /// Who remembers.
        drive: DriveId,
        /// Of which log.
        log: LogKey,
        /// The epoch that it saw.
        seen: Epoch,
        /// The one in the newest copy.
        found: Epoch,
    },
}

/// So many drives say that what they remember of the store is damaged, that no majority is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{damaged} of {holders} drives that hold the cluster store say that it is damaged there")]
pub struct Damaged {
    /// How many say so.
    pub damaged: usize,
    /// Of so many that should hold it.
    pub holders: usize,
}

/// What the answers so far allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No drive that answered has a copy that opens.
    NoCopy,
    /// Too few voters.
    TooFew { answered: usize, voters: usize, necessary: usize },
    /// Too few voters remember: what the others say is damaged, and stays so.
    Damaged(Damaged),
    /// A majority answered, and the newest copy is not the newest that was.
    Behind(Behind),
    /// The newest copy is the store.
    Enough,
}

/// The answers so far, one for each drive.
pub(super) struct Answers<C> {
    cluster: ClusterId,
    answers: BTreeMap<DriveId, Answer<C>>,
    /// Who takes no part, because what it remembers is damaged.
    damaged: BTreeSet<DriveId>,
    /// The highest term of which a refusal told.
    refused_by: Epoch,
}

impl<C: StoreContents> Answers<C> {
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self { cluster, answers: BTreeMap::new(), damaged: BTreeSet::new(), refused_by: Epoch::default() }
    }

    /// Takes an answer. A copy that cannot be used counts as none, and is returned as an error.
    pub(super) fn add(
        &mut self,
        drive: DriveId,
        held: StoreHeld,
        copy: &Bytes,
        key: &ClusterKey,
    ) -> Result<(), UnusableCopy> {
        let opened = if copy.is_empty() { Ok(None) } else { self.read(copy, key).map(Some) };
        let home = DriveHome { drive, incarnation: held.incarnation };
        let (found, outcome) = match opened {
            Ok(found) => (found.map(Arc::new), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.answers.insert(drive, Answer { home, held, found });
        outcome
    }

    fn read(&self, copy: &Bytes, key: &ClusterKey) -> Result<Found<C>, UnusableCopy> {
        let copy = StoreCopy::decode(copy)?;
        let content = copy.open(self.cluster, key)?;
        let contents = C::from_bytes(&content).map_err(|error| UnusableCopy::Contents(Box::new(error)))?;
        Ok(Found { header: copy.header, contents })
    }

    /// A drive refused because of a higher term.
    pub(super) fn refused(&mut self, by: Epoch) {
        self.refused_by = self.refused_by.max(by);
    }

    /// A drive says that what it remembers is damaged.
    pub(super) fn damaged(&mut self, drive: DriveId) {
        self.damaged.insert(drive);
    }

    /// The highest term of which a refusal told; `None` when none did.
    pub(super) fn fenced(&self) -> Option<Epoch> {
        (self.refused_by > Epoch::default()).then_some(self.refused_by)
    }

    /// The newest copy.
    pub(super) fn newest(&self) -> Option<&Found<C>> {
        let found = self.answers.values().filter_map(|answer| answer.found.as_deref());
        found.max_by_key(|found| found.header.version)
    }

    /// Who answered.
    pub(super) fn homes(&self) -> BTreeSet<DriveHome> {
        self.answers.values().map(|answer| answer.home).collect()
    }

    /// A term above all that was heard of.
    pub(super) fn next_term(&self) -> Epoch {
        let of_held = |held: &StoreHeld| {
            let copy = held.copy.map(|(term, version)| term.max(term_of(version))).unwrap_or_default();
            held.promised.max(term_of(held.seen)).max(copy)
        };
        let heard = self.answers.values().map(|answer| of_held(&answer.held)).max().unwrap_or_default();
        let newest = self.newest().map(|found| term_of(found.header.version)).unwrap_or_default();
        heard.max(newest).max(self.refused_by).next()
    }

    /// The highest ownership of each log that any of them saw.
    pub(super) fn epochs(&self) -> BTreeMap<LogKey, Epoch> {
        let mut epochs = BTreeMap::new();
        for (log, epoch) in self.answers.values().flat_map(|answer| &answer.held.epochs) {
            let highest: &mut Epoch = epochs.entry(*log).or_default();
            *highest = (*highest).max(*epoch);
        }
        epochs
    }

    /// What these answers allow.
    pub(super) fn verdict(&self) -> Verdict {
        let Some(newest) = self.newest() else { return Verdict::NoCopy };
        let (voters, homes) = (newest.contents.voters(), self.homes());
        if !voters.agree(&homes) {
            if let Some(damaged) = self.hopeless(voters) {
                return Verdict::Damaged(damaged);
            }
            let answered = voters.all().intersection(&homes).count();
            let (voters, necessary) = (voters.all().len(), voters.majority());
            return Verdict::TooFew { answered, voters, necessary };
        }
        self.behind(newest).map_or(Verdict::Enough, Verdict::Behind)
    }

    /// Whether even all others together would be too few.
    fn hopeless(&self, voters: &Voters) -> Option<Damaged> {
        let (all, mut others) = (voters.all(), voters.all());
        others.retain(|home| !self.damaged.contains(&home.drive));
        let damaged = Damaged { damaged: all.len() - others.len(), holders: all.len() };
        (!voters.agree(&others)).then_some(damaged)
    }

    fn behind(&self, newest: &Found<C>) -> Option<Behind> {
        let found = newest.header.version;
        for answer in self.answers.values() {
            let (drive, seen) = (answer.home.drive, answer.held.seen);
            if seen > found {
                return Some(Behind::Version { drive, seen, found });
            }
            for (log, seen) in &answer.held.epochs {
                if let Some(found) = newest.contents.ownership(log).filter(|found| found < seen) {
                    return Some(Behind::Ownership { drive, log: *log, seen: *seen, found });
                }
            }
        }
        None
    }
}
