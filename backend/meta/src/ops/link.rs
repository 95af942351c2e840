//! `Link`: another name for an inode.

use weft_types::Inode;
use weft_wire::meta::{MetaError, MetaReply, Name};

use crate::row::{NamedInode, OrphanRow, RowKey};
use crate::transaction::decode;
use crate::{Context, Transaction, dentries, inodes, limits};

pub(crate) fn run(
    tx: &mut dyn Transaction,
    cx: &Context<'_>,
    inode: Inode,
    parent: Inode,
    name: &Name,
) -> Result<MetaReply, MetaError> {
    let mut row = inodes::find(tx, inode)?;
    inodes::living_directory(tx, parent)?;
    if dentries::find(tx, cx, parent, name)?.is_some() {
        return Err(MetaError::Exists);
    }
    if row.is_directory() {
        return Err(MetaError::NotPermitted);
    }
    match row.attributes.links {
        // An orphan is on its way out: a name would outlive it. But one that never had a name may get its first.
        0 => {
            let orphan = RowKey::Orphan { session: cx.session, inode };
            let known: Option<OrphanRow> = match tx.get(&orphan)? {
                Some(bytes) if !bytes.is_empty() => Some(decode(&bytes)?),
                _ => None,
            };
            known.filter(|row| row.unnamed).ok_or(MetaError::NotFound)?;
            tx.delete(orphan);
            row.attributes.links = 1;
        }
        limits::LINKS_MAX.. => return Err(MetaError::TooManyLinks),
        _ => row.attributes.links += 1,
    }
    inodes::save_changed(tx, &mut row, cx.now);
    inodes::attach(tx, cx, parent, NamedInode { name: name.clone(), inode, kind: row.attributes.kind })?;
    Ok(MetaReply::Attributes(row.attributes))
}
