use proptest::prelude::*;
use weft_wire::grant::{CLOSE_MAX, CloseRefusal, CloseSessions};

use super::*;

fn close(drive: &mut Drive, sessions: Vec<SessionId>) -> Result<(), CloseRefusal> {
    drive.run::<Closing>(OWNER, CloseSessions { sessions }, &[]).map(drop)
}

fn grant(number: u32, node: NodeId) -> SignedGrant {
    signed_by(&AUTHORITY, &Grant::Session(session_grant(session(number), node)))
}

#[test]
fn a_drive_takes_puts_of_a_session_only_from_its_identity_under_a_grant_it_verified() {
    let mut drive = Drive::new();
    let of = |number| header(session(number), FILESYSTEM);
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &of(1)), Err(PutRefusal::NotGranted));
    drive.show(&grant(1, OWNER), OWNER).expect("taken");
    drive.may_put(Role::Frontend, OWNER, &of(1)).expect("granted");
    assert_eq!(drive.may_put(Role::Frontend, OTHER, &of(1)), Err(PutRefusal::NotGranted));
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &of(2)), Err(PutRefusal::NotGranted));
    let elsewhere = header(session(1), FilesystemId::from_bytes([7; 16]));
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &elsewhere), Err(PutRefusal::NotGranted));
    for role in [Role::Drive, Role::Management, Role::Admin] {
        assert_eq!(drive.may_put(role, OWNER, &of(1)), Err(PutRefusal::NotGranted), "{role}");
    }
    drive.restart();
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &of(1)), Err(PutRefusal::NotGranted), "show it again");
}

#[test]
fn compute_puts_what_it_spreads_anew_also_of_closed_sessions() {
    let mut drive = Drive::new();
    let header = header(session(1), FILESYSTEM);
    drive.may_put(Role::Compute, OWNER, &header).expect("allowed");
    close(&mut drive, vec![session(1)]).expect("closed");
    drive.may_put(Role::Compute, OWNER, &header).expect("allowed");
}

#[test]
fn a_grant_that_management_did_not_sign_for_this_caller_is_refused() {
    let mut drive = Drive::new();
    let good = grant(1, OWNER);
    assert_eq!(drive.show(&good, OTHER), Err(GrantRefusal::NotYours));
    let of_a_log = signed_by(&AUTHORITY, &Grant::Log(log_grant(1, OWNER)));
    assert_eq!(drive.show(&of_a_log, OWNER), Err(GrantRefusal::Forged));
    let foreign = signed_by(&authority(2), &Grant::Session(session_grant(session(1), OWNER)));
    assert_eq!(drive.show(&foreign, OWNER), Err(GrantRefusal::Forged));
    let impostor = signed_by(&authority(1), &Grant::Session(session_grant(session(1), OWNER)));
    assert_eq!(drive.show(&impostor, OWNER), Err(GrantRefusal::Forged));
    let mut elsewhere = session_grant(session(1), OWNER);
    elsewhere.cluster = ClusterId::from_bytes([9; 16]);
    let elsewhere = signed_by(&AUTHORITY, &Grant::Session(elsewhere));
    assert_eq!(drive.show(&elsewhere, OWNER), Err(GrantRefusal::NotYours));
    let garbage = b"no grant".to_vec();
    let signature = AUTHORITY.sign(GRANT_PURPOSE, &garbage);
    let garbage = SignedGrant { body: garbage.into(), signature: signature.into() };
    assert_eq!(drive.show(&garbage, OWNER), Err(GrantRefusal::Forged));
    assert!(!drive.custody.remembers(&good, OWNER));
    drive.show(&good, OWNER).expect("taken");
    assert!(drive.custody.remembers(&good, OWNER), "its signature is verified once");
    assert!(!drive.custody.remembers(&good, OTHER));
}

#[test]
fn a_closed_session_is_closed_for_ever() {
    let mut drive = Drive::new();
    let header = header(session(1), FILESYSTEM);
    drive.show(&grant(1, OWNER), OWNER).expect("taken");
    close(&mut drive, vec![session(1), session(1), session(2)]).expect("closed");
    close(&mut drive, vec![session(1)]).expect("closed already");
    for _ in 0..2 {
        assert_eq!(drive.may_put(Role::Frontend, OWNER, &header), Err(PutRefusal::SessionClosed));
        assert_eq!(drive.show(&grant(1, OWNER), OWNER), Err(GrantRefusal::Closed));
        assert!(!drive.custody.remembers(&grant(1, OWNER), OWNER));
        assert!(drive.custody.is_closed(session(2)) && !drive.custody.is_closed(session(3)));
        drive.restart();
    }
}

#[test]
fn closing_waits_for_puts_that_were_allowed_and_allows_no_others() {
    let mut drive = Drive::new();
    let header = header(session(1), FILESYSTEM);
    drive.show(&grant(1, OWNER), OWNER).expect("taken");
    drive.custody.begin_put(Role::Frontend, OWNER, &header).expect("allowed");
    drive.custody.begin_put(Role::Frontend, OWNER, &header).expect("allowed");
    let closing = Closing(CloseSessions { sessions: vec![session(1)] });
    let decision = closing.decide(&mut drive.custody, OWNER).expect("decided");
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &header), Err(PutRefusal::SessionClosed), "at once");
    drive.custody.apply(decision);
    for _ in 0..2 {
        assert!(drive.custody.puts_under_way(&[session(2), session(1)]));
        drive.custody.end_put(Role::Frontend, session(1));
    }
    assert!(!drive.custody.puts_under_way(&[session(1)]));
}

#[test]
fn many_sessions_take_few_items() {
    let mut drive = Drive::new();
    let all: Vec<_> = (0..3000).map(session).collect();
    close(&mut drive, all[..2500].to_vec()).expect("closed");
    for one in &all[2500..] {
        close(&mut drive, vec![*one]).expect("closed");
    }
    assert_eq!(drive.items.items.len(), 2 * 3);
    drive.restart();
    assert!(all.iter().all(|session| drive.custody.is_closed(*session)));
    close(&mut drive, vec![session(3000)]).expect("closed");
    drive.restart();
    assert!(drive.custody.is_closed(session(0)) && drive.custody.is_closed(session(3000)));
    let many = vec![session(1); CLOSE_MAX + 1];
    assert_eq!(close(&mut drive, many), Err(CloseRefusal::TooMany));
}

#[test]
fn grants_that_are_remembered_are_bounded() {
    let mut drive = Drive::new();
    for number in 0..(1 << 16) + 1 {
        let grant = ShownSession(session_grant(session(number), OWNER));
        drive.custody.show(grant).expect("taken");
    }
    let of = |number| header(session(number), FILESYSTEM);
    assert_eq!(drive.may_put(Role::Frontend, OWNER, &of(0)), Err(PutRefusal::NotGranted));
    drive.may_put(Role::Frontend, OWNER, &of(1 << 16)).expect("remembered");
}

proptest! {
    #[test]
    fn what_was_answered_as_closed_is_closed_after_any_failure(
        rounds in prop::collection::vec((prop::collection::vec(0_u32..2000, 1..600), 0_usize..6, any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut drive = Drive::new();
        let mut closed = BTreeSet::new();
        for (numbers, after, kept, restart) in rounds {
            drive.items.failure = Some(Failure { after, kept });
            let sessions: Vec<_> = numbers.into_iter().map(session).collect();
            match close(&mut drive, sessions.clone()) {
                Ok(()) => closed.extend(sessions),
                Err(error) => prop_assert_eq!(error, CloseRefusal::Device),
            }
            if restart {
                drive.restart();
            }
            prop_assert!(closed.iter().all(|session| drive.custody.is_closed(*session)));
        }
        drive.restart();
        prop_assert!(closed.iter().all(|session| drive.custody.is_closed(*session)));
    }
}
