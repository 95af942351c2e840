//! Where a file has data and where it has holes (Linux `SEEK_DATA`, `SEEK_HOLE`; POSIX.1-2024 `lseek`).

use core::ops::Range;
use std::sync::Arc;

use crate::file::FileState;
use crate::{Core, FsError, HandleId};

/// What is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeekWhat {
    /// A byte that was written, or may have been.
    Data,
    /// A byte that reads as zero because it never was. There is one at the end of every file.
    Hole,
}

impl Core {
    /// The first offset at or behind `offset` that has data, or a hole; with what was written and is not committed yet.
    ///
    /// # Errors
    /// [`FsError::BeyondEnd`] at or behind the end of the file, or when only a hole follows and data is sought;
    /// [`FsError::BadHandle`]; any of [`FsError`] when the owner cannot be asked.
    pub async fn seek(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        what: SeekWhat,
    ) -> Result<u64, FsError> {
        let open = self.handles.get(handle)?;
        self.session.serving().await?;
        loop {
            self.learn_length(&open.file).await?;
            let sought = {
                let state = open.file.lock();
                match what {
                    _ if !state.is_known() => continue,
                    SeekWhat::Data => data_from(&state, offset),
                    SeekWhat::Hole => hole_from(&state, offset),
                }
            };
            match sought {
                Ok(found) => return found.ok_or(FsError::BeyondEnd),
                Err(unknown) => self.page_in(&open.file, unknown).await?,
            }
        }
    }
}

/// The first byte at or behind `offset` that is dirty or in the map; or the range of the map that must be asked for.
fn data_from(state: &FileState, offset: u64) -> Result<Option<u64>, Range<u64>> {
    let dirty = state.dirty.held_from(offset).map(|held| held.start.max(offset));
    // What is behind the first dirty byte does not matter.
    let end = dirty.unwrap_or(u64::MAX).min(state.size);
    let committed = if offset < end { state.map.data_from(offset..end)? } else { None };
    Ok(committed.or(dirty))
}

/// The first byte at or behind `offset` that is neither dirty nor in the map.
fn hole_from(state: &FileState, offset: u64) -> Result<Option<u64>, Range<u64>> {
    let length = state.length();
    let mut at = offset;
    while at < length {
        let dirty = state.dirty.held_from(at).filter(|held| held.start <= at);
        at = match dirty {
            Some(held) => held.end,
            None if at >= state.size => break,
            None => match state.map.data_end(at)? {
                Some(end) => end.min(state.size),
                None => break,
            },
        };
    }
    Ok((offset < length).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dirty bytes, the length, and what is known of the map by itself: of a new file, nothing is in extents.
    fn state(size: u64, dirty: &[(u64, usize)]) -> FileState {
        let mut state = FileState::default();
        state.size = size;
        state.map = crate::map::ExtentMap::of_new_file();
        for (offset, len) in dirty {
            state.dirty.write(*offset, &vec![1; *len]);
        }
        state
    }

    #[test]
    fn dirty_bytes_are_data_and_the_end_is_a_hole() {
        let state = state(100, &[(10, 5), (15, 5), (110, 10)]);
        let rows = [
            (0, Some(10), Some(0)),
            (10, Some(10), Some(20)),
            (19, Some(19), Some(20)),
            (20, Some(110), Some(20)),
            (115, Some(115), Some(120)),
            (120, None, None),
            (u64::MAX, None, None),
        ];
        for (offset, data, hole) in rows {
            assert_eq!(data_from(&state, offset), Ok(data), "data from {offset}");
            assert_eq!(hole_from(&state, offset), Ok(hole), "a hole from {offset}");
        }
    }

    #[test]
    fn what_is_not_known_is_asked_for_only_where_it_matters() {
        let mut state = state(100, &[(10, 5)]);
        state.map.forget(0..50);
        assert_eq!(data_from(&state, 12), Ok(Some(12)));
        assert_eq!(data_from(&state, 5), Err(5..10));
        assert_eq!(hole_from(&state, 10), Err(15..16));
        assert_eq!(hole_from(&state, 60), Ok(Some(60)));
    }
}
