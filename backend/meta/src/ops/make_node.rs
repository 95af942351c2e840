//! `MakeNode`: a new inode and its first name.

use minicbor::bytes::ByteVec;
use weft_types::{ByteCount, Timestamp};
use weft_wire::meta::{
    Attributes, FileKind, MakeNode, MakeUnnamed, MetaError, MetaReply, NewNode, Opened, SYMLINK_BYTES_MAX,
};

use super::set_attributes::{MODE_BITS, SET_GROUP_ID};
use crate::row::{InodeRow, NamedInode, OrphanRow, RowKey, SymlinkRow};
use crate::transaction::store;
use crate::{Context, Transaction, access_lists, counters, data_keys, dentries, inodes, limits};

/// What a new inode starts with.
pub(crate) struct NewInode {
    pub(crate) kind: FileKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: u32,
    /// Absent for what the type has.
    pub(crate) size: Option<u64>,
}

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &MakeNode) -> Result<MetaReply, MetaError> {
    let directory = inodes::living_directory(tx, op.parent)?;
    if dentries::find(tx, cx, op.parent, &op.name)?.is_some() {
        return Err(MetaError::Exists);
    }
    let new = describe(cx, &op.node, op.mode, &directory)?;
    if new.kind == FileKind::Directory {
        inodes::check_subdirectories(&directory)?;
    }
    let mut row = make_inode(tx, cx.now, &new)?;
    access_lists::inherit(tx, cx, &directory, &mut row, op.umask)?;
    let inode = row.attributes.inode;
    let mut grant = None;
    match &op.node {
        NewNode::File => grant = Some(data_keys::make(tx, cx.keys)?),
        NewNode::Directory => row.parent = Some(op.parent),
        NewNode::Symlink { target } => {
            store(tx, RowKey::Symlink(inode), &SymlinkRow { target: target.clone() });
        }
        _ => {}
    }
    row.key = grant.as_ref().map(|grant| grant.id);
    inodes::save(tx, &row);
    inodes::attach(tx, cx, op.parent, NamedInode { name: op.name.clone(), inode, kind: new.kind })?;
    let attributes = row.attributes;
    Ok(match grant {
        Some(key) => MetaReply::Opened(Opened { attributes, key }),
        None => MetaReply::Attributes(attributes),
    })
}

/// `MakeUnnamed`: a regular file that has no name yet, an orphan of the session until a link gives it one.
pub(crate) fn run_unnamed(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &MakeUnnamed,
) -> Result<MetaReply, MetaError> {
    let directory = inodes::living_directory(tx, op.parent)?;
    let new = describe(cx, &NewNode::File, op.mode, &directory)?;
    let mut row = make_inode(tx, cx.now, &new)?;
    access_lists::inherit(tx, cx, &directory, &mut row, op.umask)?;
    let key = data_keys::make(tx, cx.keys)?;
    row.key = Some(key.id);
    row.attributes.links = 0;
    inodes::save(tx, &row);
    let orphan = RowKey::Orphan { session: cx.session, inode: row.attributes.inode };
    store(tx, orphan, &OrphanRow { unnamed: true });
    Ok(MetaReply::Opened(Opened { attributes: row.attributes, key }))
}

/// Type, owner and mode of what is to be made. In a set-group-id directory the group is the directory's, and
/// subdirectories are set-group-id as well.
fn describe(
    cx: &Context<'_>,
    node: &NewNode,
    mode: u16,
    directory: &InodeRow,
) -> Result<NewInode, MetaError> {
    if mode & !MODE_BITS != 0 {
        return Err(MetaError::Invalid);
    }
    let (kind, device) = match node {
        NewNode::File => (FileKind::File, 0),
        NewNode::Directory => (FileKind::Directory, 0),
        NewNode::Symlink { .. } => (FileKind::Symlink, 0),
        NewNode::Fifo => (FileKind::Fifo, 0),
        NewNode::Socket => (FileKind::Socket, 0),
        NewNode::CharDevice(device) => (FileKind::CharDevice, *device),
        NewNode::BlockDevice(device) => (FileKind::BlockDevice, *device),
    };
    let inherits = directory.attributes.mode & SET_GROUP_ID != 0;
    let gid = if inherits { directory.attributes.gid } else { cx.caller.gid };
    let mode = match kind {
        FileKind::Symlink => 0o777,
        FileKind::Directory if inherits => mode | SET_GROUP_ID,
        _ => mode,
    };
    let size = match node {
        NewNode::Symlink { target } => Some(target_len(target)?),
        _ => None,
    };
    Ok(NewInode { kind, mode, uid: cx.caller.uid, gid, device, size })
}

fn target_len(target: &ByteVec) -> Result<u64, MetaError> {
    if target.len() > SYMLINK_BYTES_MAX {
        return Err(MetaError::NameTooLong);
    }
    if target.is_empty() {
        return Err(MetaError::NotFound);
    }
    if target.contains(&0) {
        return Err(MetaError::Invalid);
    }
    Ok(target.len() as u64)
}

/// A new inode's row, not stored yet; its number is taken.
pub(crate) fn make_inode(
    tx: &mut dyn Transaction,
    now: Timestamp,
    new: &NewInode,
) -> Result<InodeRow, MetaError> {
    let (inode, generation) = counters::update(tx, |counters| counters.take_inode())?;
    let directory = new.kind == FileKind::Directory;
    let attributes = Attributes {
        inode,
        generation,
        kind: new.kind,
        mode: new.mode,
        links: if directory { 2 } else { 1 },
        uid: new.uid,
        gid: new.gid,
        device: new.device,
        size: new.size.unwrap_or(if directory { limits::DIRECTORY_SIZE } else { 0 }),
        allocated: ByteCount::new(0),
        accessed: now,
        modified: now,
        changed: now,
        created: now,
        change: 1,
        no_xattrs: true,
    };
    Ok(InodeRow {
        attributes,
        parent: None,
        key: None,
        entries: 0,
        xattr_name_bytes: 0,
        xattr_bytes: 0,
        users: None,
        accessed_set: None,
    })
}
