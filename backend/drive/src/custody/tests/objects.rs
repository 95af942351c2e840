use weft_wire::log::{DeleteObjects, PutObject};

use super::*;

fn key(epoch: u64, number: u64, part: u32) -> ObjectKey {
    ObjectKey { log: LOG, epoch: Epoch::new(epoch), number, part }
}

fn put(drive: &mut Drive, owner: NodeId, key: ObjectKey, bytes: &[u8]) -> Result<(), LogRefusal> {
    drive.run::<Placing>(owner, PutObject { key }, bytes).map(drop)
}

fn delete(drive: &mut Drive, epoch: u64, keys: Vec<ObjectKey>) -> Result<(), LogRefusal> {
    let call = DeleteObjects { epoch: Epoch::new(epoch), keys };
    drive.run::<Deleting>(OWNER, call, &[]).map(drop)
}

fn listed(drive: &Drive, after: Option<ObjectKey>) -> Vec<ObjectKey> {
    drive.custody.list_objects(ListObjects { log: LOG, after })
}

fn read(drive: &Drive, key: ObjectKey) -> Option<Bytes> {
    let item = drive.custody.object(GetObject { key })?;
    Some(drive.items.read(&item).expect("read"))
}

#[test]
fn objects_are_put_only_in_the_name_of_the_sealed_grant() {
    let mut drive = Drive::new();
    assert_eq!(put(&mut drive, OWNER, key(4, 1, 0), b"x"), Err(LogRefusal::NotGranted));
    drive.seal(4, OWNER).expect("sealed");
    assert_eq!(put(&mut drive, OWNER, key(3, 1, 0), b"x"), Err(deposed(4)));
    assert_eq!(put(&mut drive, OWNER, key(5, 1, 0), b"x"), Err(LogRefusal::NotGranted));
    assert_eq!(put(&mut drive, OTHER, key(4, 1, 0), b"x"), Err(LogRefusal::NotGranted));
    put(&mut drive, OWNER, key(4, 1, 0), b"x").expect("put");
    drive.seal(5, OTHER).expect("sealed");
    assert_eq!(put(&mut drive, OWNER, key(4, 1, 1), b"x"), Err(deposed(5)));
    assert_eq!(delete(&mut drive, 4, vec![key(4, 1, 0)]), Err(deposed(5)));
}

#[test]
fn an_object_is_put_once_and_deleted_for_good() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    for (number, part) in [(2, 0), (1, 1), (1, 0), (300, 0)] {
        put(&mut drive, OWNER, key(4, number, part), b"part").expect("put");
    }
    put(&mut drive, OWNER, key(4, 1, 0), b"part").expect("the same bytes");
    assert_eq!(put(&mut drive, OWNER, key(4, 1, 0), b"else"), Err(LogRefusal::Conflict));
    assert_eq!(put(&mut drive, OWNER, key(4, 9, 0), b""), Err(LogRefusal::Malformed));
    for _ in 0..2 {
        let all = [key(4, 1, 0), key(4, 1, 1), key(4, 2, 0), key(4, 300, 0)];
        assert_eq!(listed(&drive, None), all);
        assert_eq!(listed(&drive, Some(key(4, 1, 1))), all[2..]);
        assert_eq!(listed(&drive, Some(key(4, 1, 7))), all[2..]);
        assert_eq!(read(&drive, key(4, 2, 0)), Some(Bytes::from_static(b"part")));
        assert_eq!(read(&drive, key(4, 2, 1)), None);
        drive.restart();
    }
    delete(&mut drive, 4, vec![key(4, 1, 0), key(4, 2, 0), key(3, 8, 8)]).expect("deleted");
    drive.restart();
    assert_eq!(listed(&drive, None), [key(4, 1, 1), key(4, 300, 0)]);
    put(&mut drive, OWNER, key(4, 1, 0), b"else").expect("the name is free");
}

#[test]
fn objects_of_two_logs_are_not_deleted_together() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    let elsewhere = LogKey { shard: MetadataShard::new(1), ..LOG };
    let other = ObjectKey { log: elsewhere, ..key(4, 1, 0) };
    assert_eq!(delete(&mut drive, 4, vec![key(4, 1, 0), other]), Err(LogRefusal::Malformed));
    assert_eq!(delete(&mut drive, 4, Vec::new()), Err(LogRefusal::Malformed));
    assert_eq!(delete(&mut drive, 4, vec![key(4, 1, 0); 4097]), Err(LogRefusal::Malformed));
}

#[test]
fn a_damaged_object_is_repaired_by_the_same_bytes() {
    let mut drive = Drive::new();
    drive.seal(4, OWNER).expect("sealed");
    put(&mut drive, OWNER, key(4, 1, 0), b"part").expect("put");
    let item = drive.custody.object(GetObject { key: key(4, 1, 0) }).expect("there");
    drive.items.damaged.insert(item.clone());
    drive.custody.mark_damaged(&item);
    put(&mut drive, OWNER, key(4, 1, 0), b"part").expect("repaired");
    assert_eq!(read(&drive, key(4, 1, 0)), Some(Bytes::from_static(b"part")));
}
