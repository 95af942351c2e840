//! What an operation needs of inodes that other sessions may remember.

use weft_leases::Need;
use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaOp, Name, Rename};

use crate::row::NamedInode;
use crate::{Context, Transaction, dentries, inodes};

/// What an operation needs, as the rows are now. What names lead to may be another inode later: who waits for what is
/// needed asks anew.
///
/// # Errors
/// [`MetaError::Damaged`]
pub fn needs(tx: &dyn Transaction, cx: &Context<'_>, op: &MetaOp) -> Result<Vec<Need>, MetaError> {
    Ok(match op {
        MetaOp::GetAttributes { inode }
        | MetaOp::ReadLink { inode }
        | MetaOp::GetXattr { inode, .. }
        | MetaOp::ListXattrs { inode }
        | MetaOp::Open { inode } => vec![Need::Read(*inode)],
        MetaOp::ReadMap(op) => vec![Need::Read(op.inode)],
        MetaOp::ListDirectory(op) => vec![Need::Read(op.inode)],
        MetaOp::Lookup { parent, name, .. } => looked_up(tx, cx, *parent, name.as_ref())?,
        MetaOp::MakeNode(op) => vec![Need::Name(op.parent, op.name.clone())],
        MetaOp::Unlink { parent, name } | MetaOp::RemoveDirectory { parent, name } => {
            let entry = dentries::find(tx, cx, *parent, name)?;
            let mut needs = vec![Need::Name(*parent, name.clone())];
            needs.extend(entry.map(|entry| loses(tx, &entry)).transpose()?);
            needs
        }
        MetaOp::Link { inode, parent, name } => {
            vec![Need::Name(*parent, name.clone()), Need::Attributes(*inode)]
        }
        MetaOp::Rename(op) => renamed(tx, cx, op)?,
        MetaOp::SetAttributes { inode, changes } if changes.size.is_some() => vec![Need::Data(*inode)],
        MetaOp::SetAttributes { inode, .. } | MetaOp::RemoveXattr { inode, .. } => {
            vec![Need::Attributes(*inode)]
        }
        MetaOp::SetXattr(op) => vec![Need::Attributes(op.inode)],
        MetaOp::Commit(op) => vec![Need::Data(op.inode)],
        MetaOp::CommitFiles(commits) => commits.iter().map(|op| Need::Data(op.inode)).collect(),
        MetaOp::Compact(op) => vec![Need::Data(op.inode)],
        MetaOp::Write { inode } => vec![Need::Write(*inode)],
        MetaOp::OpenWriting { inode } => vec![Need::Writers(*inode)],
        MetaOp::Allocate(op) => vec![Need::Data(op.inode)],
        MetaOp::CopyRange(op) => vec![Need::Read(op.from), Need::Data(op.to)],
        // A file that nobody else knows; times that others see some time later; and what is not of an inode.
        MetaOp::MakeUnnamed(_) | MetaOp::Accessed(_) | MetaOp::Reap { .. } | MetaOp::GetSpace => Vec::new(),
    })
}

fn looked_up(
    tx: &dyn Transaction,
    cx: &Context<'_>,
    parent: Inode,
    name: Option<&Name>,
) -> Result<Vec<Need>, MetaError> {
    let found = match name {
        Some(name) => dentries::find(tx, cx, parent, name)?.map(|entry| entry.inode),
        None => inodes::known(tx, parent).ok().and_then(|row| row.parent),
    };
    Ok([Some(parent), found].into_iter().flatten().map(Need::Read).collect())
}

/// An inode that loses a name.
fn loses(tx: &dyn Transaction, entry: &NamedInode) -> Result<Need, MetaError> {
    let row = inodes::known(tx, entry.inode)?;
    let last = row.is_directory() || row.attributes.links <= 1;
    Ok(if last { Need::Gone(entry.inode) } else { Need::Attributes(entry.inode) })
}

fn renamed(tx: &dyn Transaction, cx: &Context<'_>, op: &Rename) -> Result<Vec<Need>, MetaError> {
    let mut needs =
        vec![Need::Name(op.parent, op.name.clone()), Need::Name(op.new_parent, op.new_name.clone())];
    let moved = dentries::find(tx, cx, op.parent, &op.name)?;
    needs.extend(moved.as_ref().map(|entry| Need::Attributes(entry.inode)));
    if let Some(target) = dentries::find(tx, cx, op.new_parent, &op.new_name)? {
        let replaced = op.mode == weft_wire::meta::RenameMode::Replace;
        let same = moved.is_some_and(|moved| moved.inode == target.inode);
        needs.push(if replaced && !same { loses(tx, &target)? } else { Need::Attributes(target.inode) });
    }
    Ok(needs)
}
