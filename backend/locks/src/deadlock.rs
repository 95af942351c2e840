//! Whether a wait would never end.

use std::collections::BTreeSet;

use crate::table::{Holder, Place, Table, Want};
use weft_types::LockKind;

impl Table {
    /// Whether a holder that waits for this would wait for itself: for one that holds what is in its way and waits, maybe
    /// over others, for what the holder has, on whatever file. Only waits that `fcntl` makes count; `flock` says nothing
    /// of deadlocks.
    ///
    /// The moment at which a request begins to wait is the one to look: whoever is granted something goes on, and can
    /// still let go of it.
    pub(crate) fn would_deadlock(&self, place: Place, holder: Holder, want: Want) -> bool {
        // Each holder once, however many wait for it.
        let mut seen: BTreeSet<Holder> = self.in_the_way(place, holder, want).collect();
        let mut open: Vec<Holder> = seen.iter().copied().collect();
        while let Some(next) = open.pop() {
            if next == holder {
                return true;
            }
            let waits =
                self.waiting.get(&next).into_iter().flatten().filter_map(|ticket| self.waits.get(ticket));
            for wait in waits.filter(|wait| wait.place.kind == LockKind::Posix) {
                open.extend(self.in_the_way(wait.place, next, wait.want).filter(|other| seen.insert(*other)));
            }
        }
        false
    }

    fn in_the_way(&self, place: Place, holder: Holder, want: Want) -> impl Iterator<Item = Holder> + '_ {
        let file = self.files.get(&place);
        file.into_iter()
            .flat_map(move |file| file.conflicts(holder, want.range, want.mode))
            .map(|(_, other)| other)
    }
}
