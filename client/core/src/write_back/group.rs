//! Small files, written back together: their extents are put by one call for each drive, and committed by one operation.
//!
//! Each file is on a flight of its own all the same: what cannot be put or committed together goes on alone.

use std::sync::Arc;

use tokio::sync::MutexGuard;
use weft_wire::meta::{FILES_MAX, MetaError};

use super::{Flown, depart};
use crate::dirty::{Piece, Take};
use crate::file::Pinned;
use crate::put::{MANY, MANY_BYTES, SHORT_BYTES, Stored, WritingKey};
use crate::{Core, FsError};

/// Pieces of a file that joins a group.
const PIECES_MAX: u64 = 4;

/// Whether a file is small enough to be written back with others; it is reserved for that then.
pub(super) fn may_join(file: &Pinned) -> bool {
    let mut state = file.lock();
    let small = state.dirty.dirty() <= SHORT_BYTES && state.dirty.extents() <= PIECES_MAX;
    let joins = small && !state.flushing && !state.queued && !state.careful && state.writing_key().is_some();
    state.queued |= joins;
    joins
}

/// A file that departs with others. Its length does not change meanwhile.
struct Member<'a> {
    file: &'a Pinned,
    order: MutexGuard<'a, ()>,
    complete: bool,
}

impl Core {
    /// Writes files back that were reserved for it, so many together as go into one operation.
    pub(super) fn write_back_together(self: &Arc<Self>, files: Vec<Pinned>) {
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            let mut files = &files[..];
            while !files.is_empty() {
                // The semaphore is never closed.
                let Ok(_turn) = core.groups.acquire().await else { return };
                let taken = core.write_group(files).await;
                files = &files[taken..];
            }
        });
    }

    /// One group: the first of these files. Answers how many it took.
    async fn write_group(self: &Arc<Self>, files: &[Pinned]) -> usize {
        let (mut members, mut pieces, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut taken, mut bytes) = (0, 0);
        for file in files {
            if members.len() >= FILES_MAX
                || pieces.len() + PIECES_MAX as usize > MANY
                || bytes + SHORT_BYTES > MANY_BYTES
            {
                break;
            }
            taken += 1;
            let Some((member, of_file, key)) = self.join(file) else { continue };
            members.push(member);
            counts.push(of_file.len());
            bytes += of_file.iter().map(|piece| piece.data.len() as u64).sum::<u64>();
            pieces.extend(of_file.into_iter().map(|piece| (piece, key.clone())));
        }
        if !members.is_empty() {
            let put = self.put_group(pieces).await;
            self.land(members, put, &counts).await;
        }
        taken
    }

    /// Takes what is dirty of a file, when nothing stands in the way.
    fn join<'a>(self: &Arc<Self>, file: &'a Pinned) -> Option<(Member<'a>, Vec<Piece>, WritingKey)> {
        file.lock().queued = false;
        let Ok(order) = file.order.try_lock() else {
            self.kick(file, Take::All);
            return None;
        };
        let abandoned = self.is_abandoned(file);
        let key = {
            let mut state = file.lock();
            // Somebody has begun to write it back meanwhile.
            if state.flushing || state.dirty.dirty() == 0 {
                return None;
            }
            state.flushing = true;
            state.wanted = Some(Take::All);
            state.writing_key()
        };
        if abandoned {
            // Nobody misses them.
            self.drop_dirty(file, FsError::Refused(MetaError::NotFound));
            return None;
        }
        // More may have been written since it was looked at: the rest follows alone.
        let departed = key.and_then(|key| {
            let fits = file.lock().dirty.dirty() <= SHORT_BYTES;
            let (pieces, complete) =
                if fits { depart(file, PIECES_MAX as usize, self.session.id())? } else { return None };
            Some((pieces, complete, key))
        });
        let Some((pieces, complete, key)) = departed else {
            drop(order);
            self.go_on(file.clone(), None);
            return None;
        };
        Some((Member { file, order, complete }, pieces, key))
    }

    async fn put_group(self: &Arc<Self>, pieces: Vec<(Piece, WritingKey)>) -> Vec<Result<Stored, FsError>> {
        let mut sealed = 0_u32;
        for (piece, _) in &pieces {
            match self.sealed_len(piece.data.len() as u64) {
                Ok(len) => sealed = sealed.saturating_add(len),
                Err(error) => return pieces.iter().map(|_| Err(error)).collect(),
            }
        }
        let memory = self.memory.sealed.hold(sealed).await;
        self.put_extents(pieces, memory).await
    }

    /// Commits what was put, together where all of a file was, and ends the flights.
    async fn land(
        self: &Arc<Self>,
        members: Vec<Member<'_>>,
        put: Vec<Result<Stored, FsError>>,
        counts: &[usize],
    ) {
        let mut put = put.into_iter();
        let (mut whole, mut stored, mut stored_counts, mut again) =
            (Vec::new(), Vec::new(), Vec::new(), false);
        for (member, count) in members.into_iter().zip(counts) {
            let of_file: Vec<_> = put.by_ref().take(*count).collect();
            match of_file.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(of_file) => {
                    stored_counts.push(of_file.len());
                    stored.extend(of_file);
                    whole.push(member);
                }
                Err(error) => again |= self.end(member, Err(error)),
            }
        }
        let files: Vec<&Pinned> = whole.iter().map(|member| member.file).collect();
        let together = match files.len() {
            0 => Ok(()),
            _ => self.commit_files(&files, &mut stored, &stored_counts).await,
        };
        let mut stored = stored.into_iter();
        for (member, count) in whole.into_iter().zip(stored_counts) {
            let of_file: Vec<_> = stored.by_ref().take(count).collect();
            let landed = match together {
                // Each is flown again by the next map.
                Err(FsError::Refused(MetaError::StaleGroup)) => together,
                // Of one of them the owner wants nothing: the others are not to suffer from that.
                Err(FsError::Refused(_)) => self.commit(member.file, of_file).await,
                together => together,
            };
            again |= self.end(member, landed);
        }
        if again {
            self.refresh_map().await;
        }
    }

    /// Ends a flight; what there is more to write follows. Answers whether another map is needed.
    fn end(self: &Arc<Self>, member: Member<'_>, landed: Result<(), FsError>) -> bool {
        let Member { file, order, complete } = member;
        let flown = match landed {
            Ok(()) => self.landed(file, complete),
            Err(error) => self.came_back(file, error),
        };
        drop(order);
        let again = matches!(flown, Flown::Again);
        let more = {
            let mut state = file.lock();
            state.flushing = state.wanted.is_some() || !matches!(flown, Flown::Landed);
            state.flushing
        };
        if more {
            self.go_on(file.clone(), Some(flown));
        } else {
            file.progress.send_modify(|count| *count += 1);
        }
        again
    }
}
