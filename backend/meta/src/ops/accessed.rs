//! `Accessed`: inodes were read.

use weft_wire::meta::{Access, ENTRIES_MAX, MetaError, MetaReply};

use super::set_attributes::checked_time;
use crate::{Transaction, inodes};

pub(crate) fn run(tx: &mut dyn Transaction, accesses: &[Access]) -> Result<MetaReply, MetaError> {
    if accesses.len() > ENTRIES_MAX {
        return Err(MetaError::Invalid);
    }
    for access in accesses {
        let at = checked_time(access.at)?;
        let mut row = match inodes::find(tx, access.inode) {
            Err(MetaError::NotFound) => continue,
            found => found?,
        };
        // Whoever set the time after the read was sent to tell of it has the last word.
        let counts = row.accessed_set.is_none_or(|set| set <= at);
        if counts && row.attributes.accessed < at {
            row.attributes.accessed = at;
            // No change of the inode, as POSIX has it: readers that remember something of it need not ask anew.
            inodes::save(tx, &row);
        }
    }
    Ok(MetaReply::Done)
}
