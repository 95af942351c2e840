//! Opening the cluster store from its copies.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use weft_keys::{ClusterKey, Nonce};
use weft_types::{ClusterId, DriveId, Epoch};
use weft_wire::ownership::DriveHome;
use weft_wire::store::{OpenStore, StoreHeld, StoreRefusal};

use super::answers::{Answers, Behind, Damaged, Found, Verdict};
use super::copy::{StoreCopy, StoreHeader};
use super::driver::{Settled, StoreDriver};
use super::drives::{StoreCallError, StoreContents, StoreDrives};
use super::pending::Pending;
use super::quorum::QuorumStore;
use super::version::{Shown, first_version};
use super::{CALL_MAX, WriteError};

/// Between two rounds of asking while too few drives answer.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// For so long newer copies are waited for when the newest is behind what some drive saw.
const NEWER_MAX: Duration = Duration::from_secs(10);
/// For so long a copy that was found may take to be put again.
const REPUT_MAX: Duration = Duration::from_secs(10);
/// For so long more answers are waited for when there are enough: a drive that saw something newer is to be heard.
const LATE_MAX: Duration = Duration::from_millis(250);
/// So often others may be first before this process gives way.
const FENCED_MAX: u32 = 16;

/// How a store is opened.
pub struct StoreSettings<D> {
    /// The way to the drives.
    pub drives: Arc<D>,
    /// All drives that may hold a copy, voters or not.
    pub places: Vec<DriveId>,
    /// The cluster whose store it must be.
    pub cluster: ClusterId,
    /// The cluster key.
    pub key: ClusterKey,
    /// Nonces that were never used.
    pub nonces: Box<dyn FnMut() -> Nonce + Send>,
    /// What tells processes apart that open the store at the same time: how long they wait for each other.
    pub seed: u64,
}

/// Why a store is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The newest copy that a majority has is an old one that was brought back.
    #[error(
        "the cluster store is an old one that was brought back: bring back the drives that hold the newer copies, or accept the loss with `weft cluster recover --accept-loss`"
    )]
    Behind(#[source] Behind),
    /// Too many copies are damaged.
    #[error(
        "the cluster store is damaged on too many drives: bring back drives that hold it whole, or accept the loss with `weft cluster recover --accept-loss`"
    )]
    Damaged(#[source] Damaged),
    /// Another management process opens it, or has it open.
    #[error("another management process has opened the cluster store under term {by}: stop one of the two")]
    Fenced {
        /// Its term.
        by: Epoch,
    },
    /// Recovery found no copy that opens.
    #[error("no drive that answers holds a copy of the cluster store that opens: bring back one that does")]
    NoCopy,
    /// Recovery could not write what it recovered.
    #[error("what was recovered of the cluster store was not taken by the drives")]
    NotTaken(#[source] WriteError),
}

/// The headers of the copies on the drives, the newest first: what the KMS must be asked to get the cluster key. Waits
/// for ever until some drive answers with a whole copy; more than half of `places` are heard first, or all that answer.
///
/// # Errors
/// Every drive answers, and none with a whole copy because they are damaged.
pub async fn store_headers<D: StoreDrives>(
    drives: &D,
    places: &[DriveId],
) -> Result<Vec<StoreHeader>, Damaged> {
    let mut said = String::new();
    loop {
        let mut calls = ask(drives, places, None);
        let (mut headers, mut answered, mut damaged): (Vec<StoreHeader>, usize, usize) = (Vec::new(), 0, 0);
        while !calls.is_empty() && (headers.is_empty() || answered * 2 <= places.len()) {
            match calls.next().await {
                (_, Ok((_, copy))) => {
                    answered += 1;
                    headers.extend(StoreCopy::decode(&copy).ok().map(|copy| copy.header));
                }
                (_, Err(StoreCallError::Refused(StoreRefusal::Damaged))) => damaged += 1,
                _ => {}
            }
        }
        if !headers.is_empty() {
            headers.sort_by_key(|header| core::cmp::Reverse(header.version));
            return Ok(headers);
        }
        if damaged > 0 && answered + damaged == places.len() {
            return Err(Damaged { damaged, holders: places.len() });
        }
        say(&mut said, format!("{answered} of {} drives answer, none with a copy", places.len()));
        sleep(ASK_EVERY).await;
    }
}

fn say(said: &mut String, what: String) {
    if *said != what {
        tracing::warn!(state = what, "the cluster store waits to be opened");
        *said = what;
    }
}

type Asked = (DriveId, Result<(StoreHeld, Bytes), StoreCallError>);

fn ask<D: StoreDrives>(drives: &D, places: &[DriveId], term: Option<Epoch>) -> Pending<Asked> {
    let mut calls = Pending::new();
    for drive in places.iter().copied() {
        let call = drives.open(drive, OpenStore { term });
        calls.push(async move {
            let none = || StoreCallError::NoAnswer { reason: "no answer in time".to_owned() };
            (drive, timeout(CALL_MAX, call).await.unwrap_or_else(|_| Err(none())))
        });
    }
    calls
}

/// Asks all; `enough` says when further answers are not waited for much longer.
pub(super) async fn gather<D: StoreDrives, C: StoreContents>(
    settings: &StoreSettings<D>,
    term: Option<Epoch>,
    enough: impl Fn(&Answers<C>) -> bool,
) -> Answers<C> {
    let mut answers = Answers::new(settings.cluster);
    let mut calls = ask(&*settings.drives, &settings.places, term);
    let mut until: Option<Instant> = None;
    while !calls.is_empty() {
        if until.is_none() && enough(&answers) {
            until = Some(Instant::now() + LATE_MAX);
        }
        let next = match until {
            None => calls.next().await,
            Some(until) => match timeout_at(until, calls.next()).await {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        match next {
            (drive, Ok((held, copy))) => {
                if let Err(error) = answers.add(drive, held, &copy, &settings.key) {
                    let error = &error as &dyn core::error::Error;
                    tracing::error!(drive = %drive, error, "a copy of the cluster store is not used");
                }
            }
            (_, Err(StoreCallError::Refused(StoreRefusal::Fenced { by }))) => answers.refused(by),
            (drive, Err(StoreCallError::Refused(StoreRefusal::Damaged))) => answers.damaged(drive),
            (drive, Err(error)) => tracing::debug!(%drive, %error, "a drive says nothing of the store"),
        }
    }
    answers
}

/// Opens the store: its newest copy, put again under a term of its own. The two parts belong together: the driver must
/// be [run](StoreDriver::run) for changes to be made.
///
/// Waits for as long as too few voters answer.
///
/// # Errors
/// [`OpenError::Behind`] when newer copies did not turn up within ten seconds, [`OpenError::Damaged`] when no majority
/// can remember any more, [`OpenError::Fenced`].
pub async fn open_store<D: StoreDrives, C: StoreContents>(
    mut settings: StoreSettings<D>,
) -> Result<(QuorumStore<C>, StoreDriver<D, C>), OpenError> {
    let mut said = String::new();
    let (mut behind_since, mut fenced) = (None, 0);
    loop {
        // Read before a promise is asked for: one that leads nowhere would only stop who has the store.
        let looked = gather::<D, C>(&settings, None, |answers| answers.verdict() == Verdict::Enough).await;
        match looked.verdict() {
            Verdict::Enough => {}
            Verdict::Behind(behind) => {
                let since = *behind_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= NEWER_MAX {
                    return Err(OpenError::Behind(behind));
                }
                say(&mut said, behind.to_string());
                sleep(ASK_EVERY).await;
                continue;
            }
            Verdict::Damaged(damaged) => return Err(OpenError::Damaged(damaged)),
            verdict => {
                say(&mut said, waiting(&verdict));
                sleep(ASK_EVERY).await;
                continue;
            }
        }
        let term = looked.next_term();
        let enough =
            |answers: &Answers<C>| answers.fenced().is_some() || answers.verdict() == Verdict::Enough;
        let promised = gather(&settings, Some(term), enough).await;
        let mut by = promised.fenced();
        if by.is_none() && promised.verdict() == Verdict::Enough {
            let found = promised.newest().cloned().ok_or(OpenError::NoCopy)?;
            match reput(settings, found, term).await {
                Reput::Done(opened) => return Ok(*opened),
                Reput::Late(back) => settings = back,
                Reput::Fenced(back, higher) => (settings, by) = (back, Some(higher)),
            }
        }
        if let Some(by) = by {
            fenced += 1;
            if fenced >= FENCED_MAX {
                return Err(OpenError::Fenced { by });
            }
        }
        sleep(pause(settings.seed, fenced)).await;
    }
}

fn waiting(verdict: &Verdict) -> String {
    match verdict {
        Verdict::TooFew { answered, voters, necessary } => {
            format!(
                "{answered} of {voters} voting drives answer, {necessary} are necessary: start the others"
            )
        }
        Verdict::Behind(behind) => behind.to_string(),
        Verdict::Damaged(damaged) => damaged.to_string(),
        Verdict::NoCopy => "no drive that answers has a copy: start the drives".to_owned(),
        Verdict::Enough => "the voting drives answer".to_owned(),
    }
}

/// Another one for each process and attempt, so that two do not stay in step (SplitMix64's finaliser).
fn pause(seed: u64, attempt: u32) -> Duration {
    let value = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_millis(50 + (value ^ value >> 31) % 450)
}

enum Reput<D, C> {
    Done(Box<(QuorumStore<C>, StoreDriver<D, C>)>),
    Late(StoreSettings<D>),
    Fenced(StoreSettings<D>, Epoch),
}

/// Puts what was found under this term, so that nothing of a lower one can count any more.
async fn reput<D: StoreDrives, C: StoreContents>(
    settings: StoreSettings<D>,
    found: Found<C>,
    term: Epoch,
) -> Reput<D, C> {
    let was = found.header.version;
    let voters = found.contents.voters().clone();
    let (store, mut driver) = StoreDriver::new(settings, found, voters);
    let settled = match driver.begin(first_version(term), driver.contents()) {
        Ok(()) => driver.settle(REPUT_MAX).await,
        Err(error) => Settled::Failed(error),
    };
    match settled {
        Settled::Durable => {
            tracing::info!(version = %Shown(first_version(term)), was = %Shown(was), "the cluster store is open");
            Reput::Done(Box::new((store, driver)))
        }
        Settled::Fenced(by) => Reput::Fenced(driver.into_settings(), by),
        Settled::Failed(error) => {
            tracing::warn!(error = &error as &dyn core::error::Error, "the cluster store is not open yet");
            Reput::Late(driver.into_settings())
        }
    }
}

/// A term or an ownership epoch for what is recovered with a loss: those that are missing may have gone on to higher ones
/// than the last that was seen, and must find themselves overtaken when they come back. None of them took so many
/// steps, and there is room for as many recoveries.
pub fn above_the_unseen(seen: Epoch) -> Epoch {
    const STEPS: u64 = 1 << 16;
    Epoch::new(seen.get().saturating_add(STEPS))
}

/// What recovery knows beside the newest copy.
#[derive(Debug)]
pub struct Remembered<'a> {
    /// The drives that answer.
    pub drives: &'a std::collections::BTreeSet<DriveHome>,
    /// The highest ownership of each log that any of them saw.
    pub epochs: &'a std::collections::BTreeMap<weft_wire::log::LogKey, Epoch>,
}

/// Opens the store from what is left of it, fewer than a majority: what the missing drives alone know is lost, and they
/// must not come back as voters. `change` makes of the newest copy what is to go on: voters among the drives that
/// answer, and every ownership epoch [far above](above_the_unseen) all seen.
///
/// # Errors
/// [`OpenError::NoCopy`], [`OpenError::NotTaken`], [`OpenError::Fenced`]; never waits for drives that do not answer.
pub async fn recover_store<D: StoreDrives, C: StoreContents>(
    settings: StoreSettings<D>,
    change: impl FnOnce(&mut C, &Remembered<'_>),
) -> Result<(QuorumStore<C>, StoreDriver<D, C>), OpenError> {
    let looked = gather::<D, C>(&settings, None, |_| false).await;
    if looked.newest().is_none() {
        return Err(OpenError::NoCopy);
    }
    let term = above_the_unseen(looked.next_term());
    let promised = gather::<D, C>(&settings, Some(term), |_| false).await;
    if let Some(by) = promised.fenced() {
        return Err(OpenError::Fenced { by });
    }
    let mut found = promised.newest().cloned().ok_or(OpenError::NoCopy)?;
    let (homes, epochs) = (promised.homes(), promised.epochs());
    change(&mut found.contents, &Remembered { drives: &homes, epochs: &epochs });
    let voters = found.contents.voters().clone();
    let (store, mut driver) = StoreDriver::new(settings, found, voters);
    driver.begin(first_version(term), driver.contents()).map_err(OpenError::NotTaken)?;
    match driver.settle(REPUT_MAX).await {
        Settled::Durable => Ok((store, driver)),
        Settled::Fenced(by) => Err(OpenError::Fenced { by }),
        Settled::Failed(error) => Err(OpenError::NotTaken(error)),
    }
}
