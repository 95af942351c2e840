//! Extended attributes.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaOp, MetaReply, SetXattr, XATTR_VALUE_BYTES_MAX, XattrMode};

use super::invariants;
use super::world::World;

use XattrMode::{Any, Create, Replace};

fn set(world: &mut World, name: &[u8], value: &[u8], mode: XattrMode) -> Result<MetaReply, MetaError> {
    let op = SetXattr {
        inode: Inode::ROOT,
        name: name.to_vec().into(),
        value: value.to_vec().into(),
        mode,
        kill_set_group_id: false,
    };
    world.run(&MetaOp::SetXattr(op))
}

fn get(world: &mut World, name: &[u8]) -> Result<Vec<u8>, MetaError> {
    let op = MetaOp::GetXattr { inode: Inode::ROOT, name: name.to_vec().into() };
    world.run(&op).map(|reply| match reply {
        MetaReply::Value(value) => value.to_vec(),
        other => panic!("no value: {other:?}"),
    })
}

#[test]
fn modes_say_what_must_be_there() {
    for hashes in [1, u64::MAX >> 2] {
        let mut world = World::with_hashes(hashes);
        assert_eq!(set(&mut world, b"user.a", b"1", Replace), Err(MetaError::NoAttribute));
        assert_eq!(set(&mut world, b"user.a", b"2", Create), Ok(MetaReply::Done));
        assert_eq!(set(&mut world, b"user.a", b"3", Create), Err(MetaError::Exists));
        assert_eq!(set(&mut world, b"user.a", b"4", Replace), Ok(MetaReply::Done));
        assert_eq!(set(&mut world, b"user.b", b"", Any), Ok(MetaReply::Done));
        assert_eq!(get(&mut world, b"user.a"), Ok(b"4".to_vec()));
        assert_eq!(get(&mut world, b"user.b"), Ok(Vec::new()));
        let remove = MetaOp::RemoveXattr { inode: Inode::ROOT, name: b"user.a".to_vec().into() };
        assert_eq!(world.run(&remove), Ok(MetaReply::Done));
        assert_eq!(world.run(&remove), Err(MetaError::NoAttribute));
        assert_eq!(get(&mut world, b"user.a"), Err(MetaError::NoAttribute));
        invariants::check(&world.rows, world.names);
    }
}

#[test]
fn names_and_values_have_limits() {
    let mut world = World::new();
    let value = vec![1; XATTR_VALUE_BYTES_MAX + 1];
    let rows: [(&[u8], usize, Result<MetaReply, MetaError>); 5] = [
        (b"", 1, Err(MetaError::Invalid)),
        (b"user.\0", 1, Err(MetaError::Invalid)),
        (&[b'n'; 256], 1, Err(MetaError::NameTooLong)),
        (b"user.v", XATTR_VALUE_BYTES_MAX + 1, Err(MetaError::AttributeTooLong)),
        (&[b'n'; 255], XATTR_VALUE_BYTES_MAX, Ok(MetaReply::Done)),
    ];
    for (name, len, answer) in rows {
        assert_eq!(set(&mut world, name, &value[..len], Any), answer);
    }
}

#[test]
fn names_together_fit_a_list() {
    let mut world = World::new();
    // 256 names of 255 bytes and a NUL are 64 KiB.
    for i in 0..256 {
        let name = format!("user.{i:0250}");
        assert_eq!(set(&mut world, name.as_bytes(), b"", Create), Ok(MetaReply::Done), "{i}");
    }
    assert_eq!(set(&mut world, b"u", b"", Any), Err(MetaError::AttributeTooLong));
    let listed = world.run(&MetaOp::ListXattrs { inode: Inode::ROOT });
    assert!(matches!(listed, Ok(MetaReply::Names(names)) if names.len() == 256));
    let name = format!("user.{:0250}", 0);
    assert_eq!(set(&mut world, name.as_bytes(), b"v", Replace), Ok(MetaReply::Done));
}

#[test]
fn values_together_have_a_limit() {
    let mut world = World::new();
    let value = vec![1; XATTR_VALUE_BYTES_MAX];
    let fits =
        (0..20).take_while(|i| set(&mut world, format!("user.{i}").as_bytes(), &value, Any).is_ok()).count();
    assert_eq!(fits, 15, "with their names, 16 are more than 1 MiB");
    assert_eq!(set(&mut world, b"user.0", &value, Any), Ok(MetaReply::Done), "as long as it was");
    invariants::check(&world.rows, world.names);
}

#[test]
fn a_file_and_an_attribute_of_one_name_are_hashed_apart() {
    let mut world = World::new();
    world.file(Inode::ROOT, "user.a");
    set(&mut world, b"user.a", b"v", Any).expect("sets");
    let hashes =
        |kind: u8| world.rows.rows.keys().filter(move |key| key[0] == kind).map(|key| key[9..].to_vec());
    assert_ne!(hashes(3).collect::<Vec<_>>(), hashes(4).collect::<Vec<_>>());
}
