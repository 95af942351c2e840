use weft_wire::grant::CloseSessions;

use super::*;

fn documents(drive: &Drive, kind: u8) -> Vec<ItemKey> {
    drive.items.list(&[kind], None, 100).into_iter().map(|(key, _)| key).collect()
}

fn used() -> Drive {
    let mut drive = Drive::new();
    drive.run::<Closing>(OWNER, CloseSessions { sessions: vec![session(1)] }, &[]).expect("closed");
    drive.seal(4, OWNER).expect("sealed");
    drive.put(4, OWNER, 1, b"one").expect("put");
    drive.trim(4, 1, None).expect("trimmed");
    drive
}

#[test]
fn one_damaged_lost_or_old_copy_takes_nothing_away() {
    for kind in *b"cg" {
        for copy in 0..2 {
            for harm in 0..3 {
                let mut drive = used();
                let key = documents(&drive, kind)[copy].clone();
                match harm {
                    0 => drop(drive.items.damaged.insert(key)),
                    1 => drop(drive.items.items.remove(&key)),
                    _ => {
                        let mut old = used().items.items[&key].to_vec();
                        old[..8].fill(0);
                        drive.items.items.insert(key, old.into());
                    }
                }
                drive.restart();
                assert!(drive.custody.is_closed(session(1)));
                assert_eq!(drive.put(4, OWNER, 1, b"one"), Err(LogRefusal::Trimmed));
                assert_eq!(drive.seal(3, OTHER), Err(deposed(4)));
                assert!(drive.items.damaged.is_empty(), "repaired");
            }
        }
    }
}

#[test]
fn a_drive_that_forgot_what_it_promised_does_not_serve() {
    for kind in *b"cg" {
        let mut drive = used();
        drive.items.damaged.extend(documents(&drive, kind));
        assert!(matches!(Custody::load(DRIVE, &drive.items), Err(LoadError::Damaged { .. })));
    }
    let mut drive = used();
    drive.put(4, OWNER, 2, b"two").expect("put");
    for key in documents(&drive, b'g') {
        drive.items.items.remove(&key);
    }
    assert!(matches!(Custody::load(DRIVE, &drive.items), Err(LoadError::Damaged { .. })));
}

#[test]
fn a_missing_page_of_closed_sessions_is_noticed() {
    let mut drive = Drive::new();
    let sessions = (0..2500).map(session).collect();
    drive.run::<Closing>(OWNER, CloseSessions { sessions }, &[]).expect("closed");
    for key in &documents(&drive, b'c')[2..4] {
        drive.items.items.remove(key);
    }
    assert!(matches!(Custody::load(DRIVE, &drive.items), Err(LoadError::Damaged { .. })));
}

#[test]
fn what_a_newer_version_keeps_is_not_overlooked() {
    let mut drive = used();
    drive.items.items.insert(ItemKey::new(b"z").expect("short"), Bytes::new());
    assert!(matches!(Custody::load(DRIVE, &drive.items), Err(LoadError::Unknown)));
    let mut drive = used();
    let key = documents(&drive, b'g')[0].clone();
    let value = [u64::MAX.to_le_bytes().as_slice(), b"no document"].concat();
    drive.items.items.insert(key, value.into());
    assert!(matches!(Custody::load(DRIVE, &drive.items), Err(LoadError::Damaged { .. })));
}
