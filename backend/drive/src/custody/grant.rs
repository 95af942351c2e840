//! Grants that management signed.

use weft_pki::AuthorityVerifier;
use weft_types::NodeId;
use weft_wire::grant::{GRANT_PURPOSE, Grant, GrantRefusal, LogGrant, SessionGrant, SignedGrant};

use crate::superblock::DriveIdentity;

/// A session's grant whose signature was verified, for the node that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownSession(pub(super) SessionGrant);

/// A log's grant whose signature was verified, for the node that shows it and for this drive as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownLog(pub(super) LogGrant);

/// Verifies a session's grant that `caller` shows.
///
/// # Errors
/// [`GrantRefusal::Forged`] and [`GrantRefusal::NotYours`].
pub fn shown_session(
    signed: &SignedGrant,
    authority: &AuthorityVerifier,
    drive: DriveIdentity,
    caller: NodeId,
) -> Result<ShownSession, GrantRefusal> {
    match verified(signed, authority)? {
        Grant::Session(grant) if grant.cluster != drive.cluster || grant.node != caller => {
            Err(GrantRefusal::NotYours)
        }
        Grant::Session(grant) => Ok(ShownSession(grant)),
        Grant::Log(_) => Err(GrantRefusal::Forged),
    }
}

/// Verifies a log's grant that `caller` shows.
///
/// # Errors
/// [`GrantRefusal::Forged`] and [`GrantRefusal::NotYours`].
pub fn shown_log(
    signed: &SignedGrant,
    authority: &AuthorityVerifier,
    drive: DriveIdentity,
    caller: NodeId,
) -> Result<ShownLog, GrantRefusal> {
    let Grant::Log(grant) = verified(signed, authority)? else { return Err(GrantRefusal::Forged) };
    let here = (grant.cluster, grant.drive, grant.incarnation);
    if here != (drive.cluster, drive.drive, drive.incarnation) || grant.owner != caller {
        return Err(GrantRefusal::NotYours);
    }
    Ok(ShownLog(grant))
}

fn verified(signed: &SignedGrant, authority: &AuthorityVerifier) -> Result<Grant, GrantRefusal> {
    if !authority.verify(GRANT_PURPOSE, &signed.body, &signed.signature) {
        return Err(GrantRefusal::Forged);
    }
    signed.grant().map_err(|_| GrantRefusal::Forged)
}
