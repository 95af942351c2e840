//! `Rename`: a name moves, replaces another, or changes places with it.

use weft_types::{Inode, Timestamp};
use weft_wire::meta::{FileKind, MetaError, MetaReply, Name, Removed, Rename, RenameMode};

use crate::row::{InodeRow, NamedInode};
use crate::{Context, Transaction, counters, dentries, inodes};

pub(crate) fn run(tx: &mut dyn Transaction, cx: &Context<'_>, op: &Rename) -> Result<MetaReply, MetaError> {
    inodes::living_directory(tx, op.parent)?;
    inodes::living_directory(tx, op.new_parent)?;
    let source = dentries::get(tx, cx, op.parent, &op.name)?;
    let target = dentries::find(tx, cx, op.new_parent, &op.new_name)?;
    let replaced = match (op.mode, target) {
        (RenameMode::NoReplace, Some(_)) => return Err(MetaError::Exists),
        (RenameMode::Exchange, None) => return Err(MetaError::NotFound),
        // Two names of one inode: POSIX wants both to stay.
        (_, Some(target)) if target.inode == source.inode => None,
        (RenameMode::Exchange, Some(target)) => {
            exchange(tx, cx, op, &source, &target)?;
            None
        }
        (RenameMode::Replace, Some(target)) => Some(replace(tx, cx, op, &source, &target)?),
        (_, None) => {
            move_name(tx, cx, op, &source)?;
            None
        }
    };
    Ok(MetaReply::Renamed { replaced })
}

/// Moves a name to where none is.
fn move_name(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &Rename,
    source: &NamedInode,
) -> Result<(), MetaError> {
    check_place(tx, source, op.new_parent)?;
    if source.kind == FileKind::Directory && op.parent != op.new_parent {
        inodes::check_subdirectories(&inodes::known(tx, op.new_parent)?)?;
    }
    inodes::detach(tx, cx, op.parent, &op.name, source.kind)?;
    inodes::attach(tx, cx, op.new_parent, NamedInode { name: op.new_name.clone(), ..source.clone() })?;
    arrive(tx, cx.now, source.inode, op.new_parent)
}

/// Moves a name over another one, whose inode loses it.
fn replace(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &Rename,
    source: &NamedInode,
    target: &NamedInode,
) -> Result<Removed, MetaError> {
    check_place(tx, source, op.new_parent)?;
    let victim = inodes::known(tx, target.inode)?;
    check_kinds(source.kind, &victim)?;
    inodes::detach(tx, cx, op.new_parent, &op.new_name, target.kind)?;
    let removed = inodes::lose_name(tx, cx, victim)?;
    move_name(tx, cx, op, source)?;
    Ok(removed)
}

/// A directory replaces only an empty directory, anything else only what is no directory.
fn check_kinds(source: FileKind, victim: &InodeRow) -> Result<(), MetaError> {
    match (source == FileKind::Directory, victim.is_directory()) {
        (true, false) => Err(MetaError::NotDirectory),
        (false, true) => Err(MetaError::IsDirectory),
        (true, true) if victim.entries > 0 => Err(MetaError::NotEmpty),
        _ => Ok(()),
    }
}

/// Lets two names change places.
fn exchange(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    op: &Rename,
    source: &NamedInode,
    target: &NamedInode,
) -> Result<(), MetaError> {
    check_place(tx, source, op.new_parent)?;
    check_place(tx, target, op.parent)?;
    let mut swap = |parent: Inode, name: &Name, gone: &NamedInode, comes: &NamedInode| {
        inodes::detach(tx, cx, parent, name, gone.kind)?;
        if comes.kind == FileKind::Directory {
            inodes::check_subdirectories(&inodes::known(tx, parent)?)?;
        }
        inodes::attach(tx, cx, parent, NamedInode { name: name.clone(), ..comes.clone() })?;
        arrive(tx, cx.now, comes.inode, parent)
    };
    swap(op.parent, &op.name, source, target)?;
    swap(op.new_parent, &op.new_name, target, source)
}

/// An inode has got a name in another directory, or in the same one.
fn arrive(tx: &mut dyn Transaction, now: Timestamp, inode: Inode, parent: Inode) -> Result<(), MetaError> {
    let mut row = inodes::known(tx, inode)?;
    if row.is_directory() {
        row.parent = Some(parent);
    }
    inodes::save_changed(tx, &mut row, now);
    Ok(())
}

/// A directory must not come to lie below itself.
fn check_place(tx: &dyn Transaction, moved: &NamedInode, parent: Inode) -> Result<(), MetaError> {
    if moved.kind != FileKind::Directory {
        return Ok(());
    }
    // No path is longer than there are inodes; damaged rows may lead in a circle.
    let depth_max = counters::get(tx)?.inodes;
    let mut at = parent;
    for _ in 0..=depth_max {
        if at == moved.inode {
            return Err(MetaError::Invalid);
        }
        if at == Inode::ROOT {
            return Ok(());
        }
        at = inodes::known(tx, at)?.parent.ok_or(MetaError::Damaged)?;
    }
    Err(MetaError::Damaged)
}
