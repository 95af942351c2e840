//! Sessions of frontends as rows of the cluster store. Pure.

use minicbor::{Decode, Encode};
use weft_types::{NodeId, SessionId};
use weft_wire::ownership::{Held, SwapRefusal};

use crate::contents::Contents;

/// Most sessions of a filesystem that are open at a time.
pub(crate) const SESSIONS_MAX: usize = 4096;

/// A session that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SessionRow {
    /// Its id, which no other session has or had.
    #[n(0)]
    pub session: SessionId,
    /// The frontend's node.
    #[n(1)]
    pub node: NodeId,
}

impl Contents {
    /// Registers a session under an id that was never used.
    ///
    /// # Errors
    /// As [`held`](Self::held); `Store` when there are [`SESSIONS_MAX`].
    pub(crate) fn register_session(
        &mut self,
        owner: &Held,
        node: NodeId,
        row: SessionRow,
    ) -> Result<(), SwapRefusal> {
        self.held(owner, node)?;
        let filesystem = self.filesystems.iter_mut().find(|known| known.id == owner.filesystem);
        let filesystem = filesystem.ok_or(SwapRefusal::NotFound)?;
        if filesystem.sessions.len() >= SESSIONS_MAX {
            let reason = format!("the filesystem has {SESSIONS_MAX} sessions, the most there may be");
            return Err(SwapRefusal::Store { reason });
        }
        filesystem.sessions.push(row);
        Ok(())
    }

    /// Ends a session. One that is not registered has ended.
    ///
    /// # Errors
    /// As [`held`](Self::held).
    pub(crate) fn end_session(
        &mut self,
        owner: &Held,
        node: NodeId,
        session: SessionId,
    ) -> Result<(), SwapRefusal> {
        self.held(owner, node)?;
        let filesystem = self.filesystems.iter_mut().filter(|known| known.id == owner.filesystem);
        filesystem.for_each(|known| known.sessions.retain(|row| row.session != session));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use weft_types::{Epoch, MetadataShard};

    const OWNER: NodeId = NodeId::from_bytes([7; 16]);
    const FRONTEND: NodeId = NodeId::from_bytes([9; 16]);

    #[test]
    fn sessions_begin_and_end_under_the_ownership_that_holds() {
        let mut contents = fixture::contents();
        let id = fixture::filesystem("home").id;
        contents.create(fixture::filesystem("home")).expect("created");
        let shard = MetadataShard::new(0);
        contents.take_ownership("home", shard, OWNER, |_, _| false).expect("owned");
        let held = Held { filesystem: id, shard, epoch: Epoch::new(1) };
        let row = |n| SessionRow { session: SessionId::from_bytes([n; 16]), node: FRONTEND };
        contents.register_session(&held, OWNER, row(1)).expect("registered");
        contents.register_session(&held, OWNER, row(2)).expect("registered");
        let deposed = Err(SwapRefusal::Deposed { by: Epoch::new(1) });
        assert_eq!(contents.register_session(&held, FRONTEND, row(3)), deposed);
        assert_eq!(contents.end_session(&held, FRONTEND, row(1).session), deposed);
        contents.end_session(&held, OWNER, row(1).session).expect("ended");
        contents.end_session(&held, OWNER, row(1).session).expect("it has ended");
        assert_eq!(contents.filesystems[0].sessions, [row(2)]);
        contents.take_ownership("home", shard, OWNER, |_, _| false).expect("owned again");
        assert!(contents.end_session(&held, OWNER, row(2).session).is_err(), "the earlier ownership");
        contents.mark_deleting("home").expect("marked");
        assert!(contents.remove_deleted(id));
        let later = Held { epoch: Epoch::new(2), ..held };
        assert_eq!(contents.register_session(&later, OWNER, row(4)), Err(SwapRefusal::NotFound));
    }

    #[test]
    fn sessions_have_a_bound() {
        let mut contents = fixture::contents();
        let id = fixture::filesystem("home").id;
        contents.create(fixture::filesystem("home")).expect("created");
        let shard = MetadataShard::new(0);
        contents.take_ownership("home", shard, OWNER, |_, _| false).expect("owned");
        let held = Held { filesystem: id, shard, epoch: Epoch::new(1) };
        let row = SessionRow { session: SessionId::from_bytes([1; 16]), node: FRONTEND };
        contents.filesystems[0].sessions = vec![row; SESSIONS_MAX];
        assert!(matches!(contents.register_session(&held, OWNER, row), Err(SwapRefusal::Store { .. })));
    }
}
