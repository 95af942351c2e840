//! `ReadLink`: the target of a symbolic link.

use weft_types::Inode;
use weft_wire::meta::{FileKind, MetaError, MetaReply};

use crate::row::{RowKey, SymlinkRow};
use crate::transaction::load_known;
use crate::{Transaction, inodes};

pub(crate) fn run(tx: &dyn Transaction, inode: Inode) -> Result<MetaReply, MetaError> {
    if inodes::find(tx, inode)?.attributes.kind != FileKind::Symlink {
        return Err(MetaError::Invalid);
    }
    let row: SymlinkRow = load_known(tx, RowKey::Symlink(inode))?;
    Ok(MetaReply::Target(row.target))
}
