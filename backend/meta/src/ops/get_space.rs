//! `GetSpace`: room and inodes of the filesystem.

use weft_wire::meta::{MetaError, MetaReply, Space};

use crate::{Context, Transaction, counters};

pub(crate) fn run(tx: &dyn Transaction, cx: &Context<'_>) -> Result<MetaReply, MetaError> {
    let counters = counters::get(tx)?;
    Ok(MetaReply::Space(Space {
        capacity: cx.space.capacity,
        free: cx.space.free,
        inodes_used: counters.inodes,
        inodes_free: counters.inodes_free(),
    }))
}
