use super::*;

#[test]
fn nothing_is_taken_before_a_grant() {
    let mut drive = Drive::new();
    assert_eq!(drive.put(1, OWNER, 1, b"one"), Err(LogRefusal::NotGranted));
    assert_eq!(drive.trim(1, 1, None), Err(LogRefusal::NotGranted));
    let held = drive.seal(1, OWNER).expect("sealed");
    assert_eq!(held, LogHeld { trimmed: 0, first: None, last: None });
    drive.put(1, OWNER, 1, b"one").expect("put");
    let other = LogKey { shard: MetadataShard::new(1), ..LOG };
    let call = PutLog { log: other, epoch: Epoch::new(1), position: at(1, 1) };
    assert_eq!(drive.run::<Recording>(OWNER, call, b"one"), Err(LogRefusal::NotGranted), "another log");
}

#[test]
fn only_the_highest_grant_counts_and_only_its_owner() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    drive.seal(4, OWNER).expect("sealed again");
    assert_eq!(drive.seal(4, OTHER), Err(deposed(4)), "an epoch is one owner's");
    assert_eq!(drive.seal(3, OTHER), Err(deposed(4)));
    assert_eq!(drive.put(4, OTHER, 1, b"x"), Err(LogRefusal::NotGranted));
    assert_eq!(drive.put(5, OWNER, 1, b"x"), Err(LogRefusal::NotGranted), "seal first");
    drive.put(4, OWNER, 1, b"one").expect("put");
    drive.seal(6, OTHER).expect("sealed");
    for _ in 0..2 {
        assert_eq!(drive.put(4, OWNER, 2, b"two"), Err(deposed(6)));
        assert_eq!(drive.put(4, OWNER, 1, b"one"), Err(deposed(6)), "also what is there");
        assert_eq!(drive.trim(4, 1, None), Err(deposed(6)));
        assert_eq!(drive.seal(4, OWNER), Err(deposed(6)));
        drive.put(6, OTHER, 2, b"two").expect("put");
        drive.restart();
    }
    assert_eq!(drive.custody.store_held([None, None]).0.epochs, [(LOG, Epoch::new(6))]);
}

#[test]
fn a_grant_for_another_drive_incarnation_or_node_seals_nothing() {
    let mut drive = Drive::new();
    let mut refused = |change: fn(&mut LogGrant), why| {
        let mut grant = log_grant(1, OWNER);
        change(&mut grant);
        let call = SealLog { grant: signed_by(&AUTHORITY, &Grant::Log(grant)) };
        assert_eq!(drive.run::<Sealing>(OWNER, call, &[]), Err(LogRefusal::Grant(why)));
    };
    refused(|grant| grant.drive = DriveId::from_bytes([9; 16]), GrantRefusal::NotYours);
    refused(|grant| grant.incarnation = Incarnation::new(2), GrantRefusal::NotYours);
    refused(|grant| grant.cluster = ClusterId::from_bytes([9; 16]), GrantRefusal::NotYours);
    refused(|grant| grant.owner = OTHER, GrantRefusal::NotYours);
    let mut forged = signed_by(&AUTHORITY, &Grant::Log(log_grant(1, OWNER)));
    let longer = minicbor::to_vec(Grant::Log(log_grant(2, OWNER))).expect("encodes");
    forged.body = longer.into();
    assert_eq!(
        drive.run::<Sealing>(OWNER, SealLog { grant: forged }, &[]),
        Err(LogRefusal::Grant(GrantRefusal::Forged))
    );
    let session = signed_by(&AUTHORITY, &Grant::Session(session_grant(session(1), OWNER)));
    assert_eq!(
        drive.run::<Sealing>(OWNER, SealLog { grant: session }, &[]),
        Err(LogRefusal::Grant(GrantRefusal::Forged))
    );
    assert!(drive.items.items.is_empty());
}

#[test]
fn a_record_is_put_if_nothing_is_there() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    drive.put(4, OWNER, 7, b"seven").expect("put");
    for _ in 0..2 {
        drive.put(4, OWNER, 7, b"seven").expect("the same bytes");
        assert_eq!(drive.put(4, OWNER, 7, b"other"), Err(LogRefusal::Conflict));
        let older = drive.copy(4, OWNER, at(3, 7), b"seven");
        assert_eq!(older, Err(LogRefusal::Conflict), "another position");
        drive.restart();
    }
    assert_eq!(drive.records(), [(at(4, 7), Some(Bytes::from_static(b"seven")))]);
    drive.seal(5, OTHER).expect("sealed");
    drive.copy(5, OTHER, at(4, 7), b"seven").expect("a later owner copies what is there");
}

#[test]
fn a_grants_epoch_is_the_authority_and_a_records_may_be_older() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    drive.copy(4, OWNER, at(2, 1), b"old").expect("copied");
    assert_eq!(drive.copy(4, OWNER, at(5, 2), b"new"), Err(LogRefusal::Malformed));
    assert_eq!(drive.put(4, OWNER, 0, b"x"), Err(LogRefusal::Malformed), "before every batch");
    assert_eq!(drive.put(4, OWNER, 2, b""), Err(LogRefusal::Malformed));
    let long = vec![0; weft_wire::frame::BULK_BYTES_MAX as usize + 1];
    assert_eq!(drive.put(4, OWNER, 2, &long), Err(LogRefusal::Malformed));
    drive.put(4, OWNER, 2, &long[1..]).expect("as long as a call's bulk");
    let last = Some(at(4, 2));
    assert_eq!(drive.custody.held(LOG), LogHeld { trimmed: 0, first: Some(1), last });
}

#[test]
fn trimmed_sequences_stay_consumed() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for seq in [1, 2, 3, 5] {
        drive.put(4, OWNER, seq, b"x").expect("put");
    }
    drive.trim(4, 3, None).expect("trimmed");
    drive.trim(4, 2, None).expect("trimmed already");
    for _ in 0..2 {
        assert_eq!(drive.custody.held(LOG), LogHeld { trimmed: 3, first: Some(5), last: Some(at(4, 5)) });
        assert_eq!(drive.put(4, OWNER, 3, b"x"), Err(LogRefusal::Trimmed));
        assert_eq!(drive.put(4, OWNER, 1, b"y"), Err(LogRefusal::Trimmed));
        drive.restart();
    }
    drive.put(4, OWNER, 4, b"y").expect("a gap is filled");
    drive.trim(4, 9, None).expect("trimmed past the last");
    drive.seal(5, OTHER).expect("sealed");
    assert_eq!(drive.put(5, OTHER, 9, b"z"), Err(LogRefusal::Trimmed));
    assert_eq!(drive.items.items.len(), 2, "what is known of the log, twice");
}

#[test]
fn records_past_a_recorded_end_are_void_and_their_sequences_free() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for seq in 1..=4 {
        drive.put(4, OWNER, seq, b"old").expect("put");
    }
    drive.seal(5, OWNER).expect("sealed");
    assert_eq!(drive.put(5, OWNER, 3, b"new"), Err(LogRefusal::Conflict));
    drive.trim(5, 0, Some(2)).expect("void");
    drive.put(5, OWNER, 3, b"new").expect("put");
    drive.trim(5, 1, Some(2)).expect("of this ownership nothing is void");
    for _ in 0..2 {
        let records = drive.records();
        let at = records.iter().map(|(position, _)| *position).collect::<Vec<_>>();
        assert_eq!(at, [super::at(4, 2), super::at(5, 3)]);
        drive.restart();
    }
    assert_eq!(drive.trim(5, u64::MAX, Some(2)), Err(LogRefusal::Malformed));
}

#[test]
fn a_log_that_was_dropped_takes_no_space_and_may_come_back() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for seq in 1..=3000 {
        drive.put(4, OWNER, seq, b"x").expect("put");
    }
    drive.trim(4, u64::MAX, None).expect("dropped");
    drive.restart();
    assert_eq!(drive.items.items.len(), 2, "who may write stays known");
    assert_eq!(drive.custody.held(LOG), LogHeld { trimmed: 3000, first: None, last: None });
    assert_eq!(drive.put(4, OWNER, 3000, b"x"), Err(LogRefusal::Trimmed));
    drive.put(4, OWNER, 3001, b"x").expect("it comes back");
}

#[test]
fn records_are_read_in_order_and_in_pages() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for seq in [9, 2, 256, 3] {
        drive.put(4, OWNER, seq, &[0; 100]).expect("put");
    }
    let read = |after, bytes| {
        let (entries, end) = drive.custody.read_log(ReadLog { log: LOG, after, bytes });
        (entries.iter().map(|(entry, _)| entry.position.seq).collect::<Vec<_>>(), end)
    };
    assert_eq!(read(0, 1000), (vec![2, 3, 9, 256], true));
    assert_eq!(read(0, 200), (vec![2, 3], false));
    assert_eq!(read(3, 1), (vec![9], false), "one at least");
    assert_eq!(read(9, 0), (vec![256], true));
    assert_eq!(read(256, 1000), (vec![], true));
    assert_eq!(read(u64::MAX, 1000), (vec![], true));
}

#[test]
fn a_damaged_record_is_told_from_an_absent_one_and_repaired_by_the_same_bytes() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for seq in 1..=3 {
        drive.put(4, OWNER, seq, b"sound").expect("put");
    }
    let (entries, _) = drive.custody.read_log(ReadLog { log: LOG, after: 0, bytes: 1000 });
    drive.items.damaged.insert(entries[1].1.clone());
    drive.items.items.insert(entries[2].1.clone(), Bytes::from_static(b"other"));
    drive.restart();
    let sound = Some(Bytes::from_static(b"sound"));
    assert_eq!(drive.records(), [(at(4, 1), sound.clone()), (at(4, 2), None), (at(4, 3), None)]);
    assert_eq!(drive.put(4, OWNER, 2, b"other"), Err(LogRefusal::Conflict));
    for seq in 2..=3 {
        drive.put(4, OWNER, seq, b"sound").expect("repaired");
    }
    assert!(drive.records().iter().all(|(_, bytes)| *bytes == sound));
}

#[test]
fn a_put_that_failed_is_not_in_the_way_of_what_is_put_in_its_place() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    drive.items.failure = Some(Failure { after: 0, kept: true });
    assert_eq!(drive.put(4, OWNER, 1, b"lost"), Err(LogRefusal::Device));
    drive.items.failure = None;
    assert_eq!(drive.records(), [], "nothing was promised");
    drive.seal(5, OTHER).expect("sealed");
    drive.copy(5, OTHER, at(3, 1), b"kept").expect("put");
    drive.restart();
    assert_eq!(drive.records(), [(at(3, 1), Some(Bytes::from_static(b"kept")))]);
}
