//! Reading the cluster store from its copies, without taking part in it.

use std::collections::BTreeSet;

use weft_wire::ownership::DriveHome;

use super::answers::{Answers, Behind, Damaged, Verdict};
use super::copy::StoreHeader;
use super::drives::{StoreContents, StoreDrives};
use super::opening::{StoreSettings, gather};

/// What the copies are.
#[derive(Clone)]
pub struct Looked<C> {
    /// What the newest copy says in clear.
    pub header: StoreHeader,
    /// What is in it.
    pub contents: C,
    /// The drives that answered.
    pub answered: BTreeSet<DriveHome>,
}

/// Why the newest copy that was found may not be the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// There is no copy.
    #[error("no drive that answers holds a copy of the cluster store that opens")]
    NoCopy,
    /// A newer copy may be elsewhere.
    #[error(
        "{answered} of {voters} voting drives answer, and {necessary} are necessary to know the newest copy of the cluster store"
    )]
    TooFew {
        /// Voters that answer.
        answered: usize,
        /// Voters.
        voters: usize,
        /// How many of them make a majority.
        necessary: usize,
    },
    /// A newer copy is elsewhere.
    #[error("the newest copy of the cluster store that was found is an old one")]
    Behind(#[source] Behind),
    /// Too many copies are damaged.
    #[error("the newest copy of the cluster store cannot be known")]
    Damaged(#[source] Damaged),
}

/// Looks what the drives that answer hold: the newest copy of a majority. Nothing is promised and nothing is written;
/// each drive is asked once.
///
/// # Errors
/// [`LookError`]
pub async fn look_at_store<D: StoreDrives, C: StoreContents>(
    settings: &StoreSettings<D>,
) -> Result<Looked<C>, LookError> {
    let answers: Answers<C> = gather(settings, None, |_| false).await;
    let newest = answers.newest().ok_or(LookError::NoCopy)?;
    match answers.verdict() {
        Verdict::NoCopy => Err(LookError::NoCopy),
        Verdict::TooFew { answered, voters, necessary } => {
            Err(LookError::TooFew { answered, voters, necessary })
        }
        Verdict::Behind(behind) => Err(LookError::Behind(behind)),
        Verdict::Damaged(damaged) => Err(LookError::Damaged(damaged)),
        Verdict::Enough => Ok(Looked {
            header: newest.header.clone(),
            contents: newest.contents.clone(),
            answered: answers.homes(),
        }),
    }
}
