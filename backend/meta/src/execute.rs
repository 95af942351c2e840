//! One operation, from the message to its rows.

use weft_types::Inode;
use weft_wire::meta::{FileKind, MetaError, MetaOp, MetaReply};

use crate::ops::make_node::{NewInode, make_inode};
use crate::row::{CountersRow, RowKey};
use crate::transaction::store;
use crate::{Context, Transaction, inodes, ops, session};

/// Whether an operation changes anything. Only mutations are recorded in slots.
pub const fn is_mutation(op: &MetaOp) -> bool {
    match op {
        MetaOp::SetAttributes { .. }
        | MetaOp::MakeNode(_)
        | MetaOp::Unlink { .. }
        | MetaOp::RemoveDirectory { .. }
        | MetaOp::Link { .. }
        | MetaOp::Rename(_)
        | MetaOp::SetXattr(_)
        | MetaOp::RemoveXattr { .. }
        | MetaOp::Commit(_)
        | MetaOp::CommitFiles(_)
        | MetaOp::Compact(_)
        | MetaOp::Allocate(_)
        | MetaOp::CopyRange(_)
        | MetaOp::MakeUnnamed(_)
        | MetaOp::Accessed(_)
        | MetaOp::Reap { .. } => true,
        MetaOp::GetAttributes { .. }
        | MetaOp::Lookup { .. }
        | MetaOp::ReadLink { .. }
        | MetaOp::ListDirectory(_)
        | MetaOp::GetXattr { .. }
        | MetaOp::ListXattrs { .. }
        | MetaOp::Open { .. }
        | MetaOp::ReadMap(_)
        | MetaOp::Write { .. }
        | MetaOp::OpenWriting { .. }
        | MetaOp::GetSpace => false,
    }
}

/// Executes one operation for an open session.
///
/// # Errors
/// The refusal to answer. Rows may have been written before it was found: the runner discards every write of a
/// refused operation. [`MetaError::SessionEnded`] and [`MetaError::ReadOnly`] come before anything else.
pub fn execute(tx: &mut dyn Transaction, cx: &mut Context<'_>, op: &MetaOp) -> Result<MetaReply, MetaError> {
    session::check(tx, cx.session, is_mutation(op))?;
    match op {
        MetaOp::GetAttributes { inode } => ops::get_attributes::run(tx, *inode),
        MetaOp::Lookup { parent, name, map_entries } => {
            ops::lookup::run(tx, cx, *parent, name.as_ref(), *map_entries)
        }
        MetaOp::SetAttributes { inode, changes } => ops::set_attributes::run(tx, cx, *inode, changes),
        MetaOp::MakeNode(op) => ops::make_node::run(tx, cx, op),
        MetaOp::Unlink { parent, name } => ops::unlink::run(tx, cx, *parent, name),
        MetaOp::RemoveDirectory { parent, name } => ops::remove_directory::run(tx, cx, *parent, name),
        MetaOp::Link { inode, parent, name } => ops::link::run(tx, cx, *inode, *parent, name),
        MetaOp::Rename(op) => ops::rename::run(tx, cx, op),
        MetaOp::ReadLink { inode } => ops::read_link::run(tx, *inode),
        MetaOp::ListDirectory(op) => ops::list_directory::run(tx, op),
        MetaOp::GetXattr { inode, name } => ops::get_xattr::run(tx, cx, *inode, name),
        MetaOp::ListXattrs { inode } => ops::list_xattrs::run(tx, *inode),
        MetaOp::SetXattr(op) => ops::set_xattr::run(tx, cx, op),
        MetaOp::RemoveXattr { inode, name } => ops::remove_xattr::run(tx, cx, *inode, name),
        MetaOp::Open { inode } => ops::open::run(tx, cx, *inode),
        MetaOp::Write { inode } => {
            session::check(tx, cx.session, true)?;
            ops::open::run(tx, cx, *inode)
        }
        MetaOp::OpenWriting { inode } => {
            session::check(tx, cx.session, true)?;
            inodes::file(tx, *inode)?;
            Ok(MetaReply::Writers { others: !cx.users.is_empty() })
        }
        MetaOp::ReadMap(op) => ops::read_map::run(tx, cx, op),
        MetaOp::Commit(op) => ops::commit::run(tx, cx, op),
        MetaOp::CommitFiles(commits) => ops::commit::run_all(tx, cx, commits),
        MetaOp::Compact(op) => ops::compact::run(tx, cx, op),
        MetaOp::Allocate(op) => ops::allocate::run(tx, cx, op),
        MetaOp::CopyRange(op) => ops::copy_range::run(tx, cx, op),
        MetaOp::MakeUnnamed(op) => ops::make_node::run_unnamed(tx, cx, op),
        MetaOp::Accessed(accesses) => ops::accessed::run(tx, accesses),
        MetaOp::Reap { inodes } => ops::reap::run(tx, cx, inodes),
        MetaOp::GetSpace => ops::get_space::run(tx, cx),
    }
}

/// Makes the rows of a new filesystem: counters, and a root directory of mode 0755 that belongs to 0:0.
///
/// # Errors
/// None in an empty transaction.
pub fn format(tx: &mut dyn Transaction, cx: &mut Context<'_>) -> Result<(), MetaError> {
    store(tx, RowKey::Counters, &CountersRow::new());
    let root = NewInode { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, device: 0, size: None };
    let mut row = make_inode(tx, cx.now, &root)?;
    if row.attributes.inode != Inode::ROOT {
        return Err(MetaError::Damaged);
    }
    row.parent = Some(Inode::ROOT);
    inodes::save(tx, &row);
    Ok(())
}
