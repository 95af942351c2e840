//! What else an operation changed than what its reply tells.

use weft_types::Inode;
use weft_wire::meta::{Attributes, MetaError, MetaOp, MetaReply, Rename, RenameMode};

use crate::{Context, Transaction, dentries, inodes};

/// The attributes of the directories in which an operation on names, which was done in this transaction or before, changed
/// names, of what it moved, and of what got or lost extended attributes. Empty for any other operation.
///
/// # Errors
/// [`MetaError::Damaged`]
pub fn touched(tx: &dyn Transaction, cx: &Context<'_>, op: &MetaOp) -> Result<Vec<Attributes>, MetaError> {
    let inodes = match op {
        MetaOp::MakeNode(op) => vec![op.parent],
        MetaOp::Unlink { parent, .. }
        | MetaOp::RemoveDirectory { parent, .. }
        | MetaOp::Link { parent, .. } => {
            vec![*parent]
        }
        MetaOp::Rename(op) => moved(tx, cx, op)?,
        MetaOp::SetXattr(op) => vec![op.inode],
        MetaOp::RemoveXattr { inode, .. } => vec![*inode],
        _ => Vec::new(),
    };
    // When the operation was done before, any of them may be gone.
    let known = inodes.into_iter().filter_map(|inode| match inodes::find(tx, inode) {
        Err(MetaError::NotFound) => None,
        found => Some(found.map(|row| row.attributes)),
    });
    known.collect()
}

/// Whether what an operation made, in this transaction or before, has extended attributes. Who made it need not ask for them
/// when it has none.
///
/// # Errors
/// [`MetaError::Damaged`]
pub fn inherited(tx: &dyn Transaction, op: &MetaOp, reply: &MetaReply) -> Result<bool, MetaError> {
    let made = match (op, reply) {
        (MetaOp::MakeNode(_), MetaReply::Attributes(attributes)) => attributes.inode,
        (MetaOp::MakeNode(_) | MetaOp::MakeUnnamed(_), MetaReply::Opened(opened)) => opened.attributes.inode,
        _ => return Ok(false),
    };
    match inodes::find(tx, made) {
        Ok(row) => Ok(row.xattr_bytes > 0),
        Err(MetaError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn moved(tx: &dyn Transaction, cx: &Context<'_>, op: &Rename) -> Result<Vec<Inode>, MetaError> {
    let mut inodes = vec![op.parent];
    if op.new_parent != op.parent {
        inodes.push(op.new_parent);
    }
    inodes.extend(dentries::find(tx, cx, op.new_parent, &op.new_name)?.map(|entry| entry.inode));
    if op.mode == RenameMode::Exchange {
        inodes.extend(dentries::find(tx, cx, op.parent, &op.name)?.map(|entry| entry.inode));
    }
    Ok(inodes)
}
