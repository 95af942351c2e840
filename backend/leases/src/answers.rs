//! What answers tell of besides what operations are about.

use std::time::Instant;

use weft_types::SessionId;
use weft_wire::coherence::Stamp;
use weft_wire::meta::{MetaOp, MetaReply};

use crate::Leases;

impl Leases {
    /// Before an answer goes out, to a session whose operation was admitted with this stamp: counts what it tells of besides
    /// what the operation is about, and leaves out what another session holds back.
    pub fn count_answer(
        &mut self,
        session: SessionId,
        op: &MetaOp,
        stamp: Stamp,
        reply: &mut MetaReply,
        now: Instant,
    ) {
        match (op, reply) {
            (MetaOp::ListDirectory(_), MetaReply::Directory(page)) => {
                for entry in &mut page.entries {
                    if self.is_written(session, entry.inode) {
                        entry.attributes = None;
                    } else if entry.attributes.is_some() && stamp.leased {
                        self.tells(session, entry.inode);
                    }
                }
            }
            (MetaOp::MakeNode(_) | MetaOp::MakeUnnamed(_), MetaReply::Opened(opened)) => {
                let inode = opened.attributes.inode;
                // It has it open in any case, whether or not it may remember it.
                if stamp.leased { self.makes(session, inode) } else { self.opens(session, inode) }
            }
            (MetaOp::MakeNode(_), MetaReply::Attributes(made)) if stamp.leased => {
                self.tells(session, made.inode);
            }
            (MetaOp::Open { inode }, _) => self.opens(session, *inode),
            (MetaOp::Commit(_) | MetaOp::CommitFiles(_), _) => self.progressed(session, now),
            _ => {}
        }
    }
}
