//! `SetAttributes`: chmod, chown, truncate, utimensat, in one.

use weft_types::{Inode, Timestamp};
use weft_wire::meta::{AttributeChanges, FileKind, MetaError, MetaReply, TimeChange};

use crate::counters::remapped;
use crate::row::InodeRow;
use crate::work::{self, Budget};
use crate::{Context, Transaction, access_lists, counters, inodes, limits, map};

/// The bits of a mode that are not the type.
pub(crate) const MODE_BITS: u16 = 0o7777;
/// `S_ISUID`.
const SET_USER_ID: u16 = 0o4000;
/// `S_ISGID`.
pub(crate) const SET_GROUP_ID: u16 = 0o2000;
/// `S_IXGRP`.
const GROUP_EXECUTE: u16 = 0o0010;

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    changes: &AttributeChanges,
) -> Result<MetaReply, MetaError> {
    let mut row = inodes::find(tx, inode)?;
    if *changes == AttributeChanges::default() {
        return Ok(MetaReply::Attributes(row.attributes));
    }
    if let Some(size) = changes.size {
        resize(tx, cx, inode, size)?;
        row = inodes::find(tx, inode)?;
        row.attributes.modified = cx.now;
    }
    change(tx, cx, &mut row, changes)?;
    let changed = changed(&row, changes, cx.now)?;
    inodes::save_changed(tx, &mut row, changed);
    Ok(MetaReply::Attributes(row.attributes))
}

/// The change time of an inode that is changed: a change that waited in the mount was shown there with its own time, and who
/// compares times must not see another change when it arrives.
pub(super) fn changed(
    row: &InodeRow,
    changes: &AttributeChanges,
    now: Timestamp,
) -> Result<Timestamp, MetaError> {
    changes.made.map_or(Ok(now), |made| Ok(checked_time(made)?.max(row.attributes.changed)))
}

/// Changes all but the length. The inode's row is the caller's to store.
pub(super) fn change(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    row: &mut InodeRow,
    changes: &AttributeChanges,
) -> Result<(), MetaError> {
    let now = cx.now;
    change_mode_and_owner(row, changes)?;
    if changes.mode.is_some() {
        access_lists::follow_mode(tx, cx, row)?;
    }
    if changes.kill_privileges && row.attributes.kind == FileKind::File {
        kill_privileges(row, row.attributes.gid == cx.caller.gid);
    }
    if let Some(time) = changes.accessed {
        row.attributes.accessed = time_of(time, now)?;
        row.accessed_set = Some(changed(row, changes, now)?);
    }
    if let Some(time) = changes.modified {
        row.attributes.modified = time_of(time, now)?;
    }
    Ok(())
}

/// Takes set-user-id off, and set-group-id unless somebody of the group does it and the group may not execute: then it means
/// something else (Linux `setattr_should_drop_suidgid`).
const fn kill_privileges(row: &mut InodeRow, of_group: bool) {
    let mode = &mut row.attributes.mode;
    *mode &= !SET_USER_ID;
    if *mode & GROUP_EXECUTE != 0 || !of_group {
        *mode &= !SET_GROUP_ID;
    }
}

/// A new owner or group takes set-user-id, and set-group-id where the group may execute, off anything but a directory, even
/// when the same operation sets them: else a file changes hands with the power of its earlier owner.
fn change_mode_and_owner(row: &mut InodeRow, changes: &AttributeChanges) -> Result<(), MetaError> {
    let attributes = &mut row.attributes;
    if let Some(mode) = changes.mode {
        if mode & !MODE_BITS != 0 {
            return Err(MetaError::Invalid);
        }
        if attributes.kind == FileKind::Symlink {
            return Err(MetaError::NotPermitted);
        }
        attributes.mode = mode;
    }
    attributes.uid = changes.uid.unwrap_or(attributes.uid);
    attributes.gid = changes.gid.unwrap_or(attributes.gid);
    let owned = changes.uid.is_some() || changes.gid.is_some();
    if owned && attributes.kind != FileKind::Directory {
        kill_privileges(row, true);
    }
    Ok(())
}

fn time_of(change: TimeChange, now: Timestamp) -> Result<Timestamp, MetaError> {
    match change {
        TimeChange::Now => Ok(now),
        TimeChange::At(time) => checked_time(time),
    }
}

/// A timestamp from a client.
pub(crate) const fn checked_time(time: Timestamp) -> Result<Timestamp, MetaError> {
    if time.is_sound() { Ok(time) } else { Err(MetaError::Invalid) }
}

/// Changes a file's length. Runs beyond a shorter one go; those that are too many for one transaction as work.
fn resize(tx: &mut dyn Transaction, cx: &Context<'_>, inode: Inode, size: u64) -> Result<(), MetaError> {
    let mut row = inodes::file(tx, inode)?;
    if size > limits::FILE_BYTES_MAX {
        return Err(MetaError::FileTooLarge);
    }
    if size >= row.attributes.size {
        grow(tx, cx, inode, size)
    } else {
        // The run across the new end is shortened, so that the bytes cut off never show again.
        let across = map::runs_behind(tx, inode, size, 1)?.pop().map(|run| run.end);
        let cleared = map::clear(tx, cx.now, (&row).into(), size..across.unwrap_or(size))?;
        counters::update(tx, |counters| counters.remap(0, cleared.bytes))?;
        row.attributes.allocated = remapped(row.attributes.allocated, 0, cleared.bytes)?;
        row.attributes.size = size;
        inodes::save(tx, &row);
        work::truncate(tx, cx.now, inode, &mut Budget::inline())
    }
}

/// Makes a file at least this long; what is new reads as zeroes.
pub(crate) fn grow(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    size: u64,
) -> Result<(), MetaError> {
    let row = inodes::file(tx, inode)?;
    if size <= row.attributes.size {
        return Ok(());
    }
    work::settle(tx, cx.now, inode)?;
    let mut row = inodes::file(tx, inode)?;
    row.attributes.size = size;
    inodes::save(tx, &row);
    Ok(())
}
