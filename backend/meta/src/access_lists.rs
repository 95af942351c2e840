//! Access lists of inodes: extended attributes with a meaning.

use minicbor::bytes::ByteVec;
use weft_wire::meta::{FileKind, MetaError, SetXattr};

use crate::acl::Acl;
use crate::ops::set_attributes::SET_GROUP_ID;
use crate::row::{InodeRow, Xattr};
use crate::{Context, Transaction, xattrs};

/// Who may do what with an inode, beyond its mode.
const ACCESS: &[u8] = b"system.posix_acl_access";
/// Of a directory: what new inodes in it begin with.
const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Permission bits of a mode.
const PERMISSION_BITS: u16 = 0o777;

/// Whether an extended attribute is an access list.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Sets an access list; an access list without entries, and one that is no more than a mode, is not stored. The inode's
/// own row is the caller's to store.
pub(crate) fn set(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: &mut InodeRow,
    op: &SetXattr,
) -> Result<(), MetaError> {
    let list = Acl::decode(&op.value)?;
    let access = op.name[..] == *ACCESS;
    let has_one = match inode.attributes.kind {
        FileKind::Directory => true,
        FileKind::Symlink => false,
        _ => access,
    };
    if !has_one {
        return Err(MetaError::NotPermitted);
    }
    if let Some(list) = list.as_ref().filter(|_| access) {
        let mode = &mut inode.attributes.mode;
        *mode = *mode & !PERMISSION_BITS | list.permissions();
        if op.kill_set_group_id {
            *mode &= !SET_GROUP_ID;
        }
    }
    match list.filter(|list| !access || !list.is_minimal()) {
        Some(list) => put(tx, cx, inode, &op.name, &list),
        None => xattrs::take(tx, cx, inode, &op.name).map(drop),
    }
}

/// The mode of an inode was set: its access list follows.
pub(crate) fn follow_mode(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: &mut InodeRow,
) -> Result<(), MetaError> {
    let Some(mut list) = find(tx, cx, inode, ACCESS)? else { return Ok(()) };
    list.follow_mode(inode.attributes.mode);
    put(tx, cx, inode, ACCESS, &list)
}

/// Mode and access lists of a new inode, from the directory that it is made in; its row is the caller's to store. A default
/// list there says what the mode becomes, or else the umask does (Linux `posix_acl_create`).
pub(crate) fn inherit(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    directory: &InodeRow,
    inode: &mut InodeRow,
    umask: u16,
) -> Result<(), MetaError> {
    if inode.attributes.kind == FileKind::Symlink {
        return Ok(());
    }
    let Some(default) = find(tx, cx, directory, DEFAULT)? else {
        inode.attributes.mode &= !(umask & PERMISSION_BITS);
        return Ok(());
    };
    let mut list = default.clone();
    inode.attributes.mode = list.begin(inode.attributes.mode);
    if !list.is_minimal() {
        put(tx, cx, inode, ACCESS, &list)?;
    }
    if inode.is_directory() {
        put(tx, cx, inode, DEFAULT, &default)?;
    }
    Ok(())
}

fn find(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    inode: &InodeRow,
    name: &[u8],
) -> Result<Option<Acl>, MetaError> {
    match xattrs::find(tx, cx, inode, name)? {
        // Only lists are stored.
        Some(value) => Acl::decode(&value).map_err(|_| MetaError::Damaged),
        None => Ok(None),
    }
}

fn put(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: &mut InodeRow,
    name: &[u8],
    list: &Acl,
) -> Result<(), MetaError> {
    let (name, value) = (ByteVec::from(name.to_vec()), ByteVec::from(list.encode()));
    xattrs::put(tx, cx, inode, Xattr { name, value })
}
