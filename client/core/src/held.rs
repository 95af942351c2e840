//! Attributes that were set while bytes of their file were not committed yet.
//!
//! Who unpacks an archive writes a file, sets its times, owner and mode, and closes it: three questions to the owner for
//! what one commit can carry. Until then they are as lasting as the bytes: an fsync, a rename and a link wait for both.

use weft_types::Timestamp;
use weft_wire::meta::{AttributeChanges, Attributes, TimeChange};

/// `S_ISUID` and `S_ISGID`: the owner alone decides what becomes of them.
const SET_ID: u16 = 0o6000;
/// What is held back of a file, until its bytes are committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    mode: Option<u16>,
    uid: Option<u32>,
    gid: Option<u32>,
    accessed: Option<Timestamp>,
    modified: Option<Timestamp>,
    /// When the last of it was set; none of nothing.
    at: Option<Timestamp>,
}

impl Held {
    /// Whether a change may wait for the bytes of a file that shows these attributes. Of a file that has committed bytes
    /// already, whose mode and owner say who may read these, only times may.
    pub(crate) fn may_hold(changes: &AttributeChanges, now: &Attributes, has_committed: bool) -> bool {
        let sound = |time: Option<TimeChange>| match time {
            Some(TimeChange::At(time)) => time.is_sound(),
            Some(TimeChange::Now) | None => true,
        };
        let owned = changes.uid.is_some() || changes.gid.is_some();
        let powers = changes.mode.unwrap_or(0) | if owned { now.mode } else { 0 };
        let nothing = *changes == AttributeChanges::default();
        let simple = changes.size.is_none() && !changes.kill_privileges && !nothing;
        let plain = simple && powers & SET_ID == 0;
        let at_once = has_committed && (owned || changes.mode.is_some());
        plain && !at_once && sound(changes.accessed) && sound(changes.modified)
    }

    /// Holds a change back, made at `now`.
    pub(crate) fn add(&mut self, changes: &AttributeChanges, now: Timestamp) {
        let time = |change| match change {
            TimeChange::Now => now,
            TimeChange::At(time) => time,
        };
        self.put(Self {
            mode: changes.mode,
            uid: changes.uid,
            gid: changes.gid,
            accessed: changes.accessed.map(time),
            modified: changes.modified.map(time),
            at: Some(now),
        });
    }

    /// What is set in `later` counts.
    fn put(&mut self, later: Self) {
        self.mode = later.mode.or(self.mode);
        self.uid = later.uid.or(self.uid);
        self.gid = later.gid.or(self.gid);
        self.accessed = later.accessed.or(self.accessed);
        self.modified = later.modified.or(self.modified);
        self.at = self.at.max(later.at);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.at.is_none()
    }

    /// Whether it sets the modification time.
    pub(crate) const fn sets_modified(&self) -> bool {
        self.modified.is_some()
    }

    /// Bytes were written after the modification time was set.
    pub(crate) const fn written(&mut self) {
        self.modified = None;
    }

    /// What was to go before comes back: what was set since counts.
    pub(crate) fn restore(&mut self, earlier: Self) {
        let later = core::mem::replace(self, earlier);
        self.put(later);
    }

    /// For the owner.
    pub(crate) fn changes(&self) -> Option<AttributeChanges> {
        (!self.is_empty()).then(|| AttributeChanges {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: None,
            accessed: self.accessed.map(TimeChange::At),
            modified: self.modified.map(TimeChange::At),
            kill_privileges: false,
            made: self.at,
        })
    }

    /// For the owner, in one with a later change of the length, which sets the modification time.
    pub(crate) fn with_length(&self, later: AttributeChanges) -> AttributeChanges {
        AttributeChanges {
            mode: later.mode.or(self.mode),
            uid: later.uid.or(self.uid),
            gid: later.gid.or(self.gid),
            accessed: later.accessed.or(self.accessed.map(TimeChange::At)),
            ..later
        }
    }

    /// Shows what is held back.
    pub(crate) fn overlay(&self, attributes: &mut Attributes) {
        let Some(at) = self.at else { return };
        attributes.mode = self.mode.unwrap_or(attributes.mode);
        attributes.uid = self.uid.unwrap_or(attributes.uid);
        attributes.gid = self.gid.unwrap_or(attributes.gid);
        attributes.accessed = self.accessed.unwrap_or(attributes.accessed);
        attributes.modified = self.modified.unwrap_or(attributes.modified);
        attributes.changed = attributes.changed.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn mode(mode: u16) -> AttributeChanges {
        AttributeChanges { mode: Some(mode), ..AttributeChanges::default() }
    }

    fn times(seconds: i64) -> AttributeChanges {
        let time = Some(TimeChange::At(at(seconds)));
        AttributeChanges { accessed: Some(TimeChange::Now), modified: time, ..AttributeChanges::default() }
    }

    #[test]
    fn what_was_set_last_counts_whatever_comes_back() {
        let mut departed = Held::default();
        departed.add(&mode(0o600), at(10));
        departed.add(&times(5), at(11));
        let mut held = Held::default();
        held.add(&mode(0o644), at(12));
        held.restore(departed);
        let mut shown = crate::tests::directory();
        held.overlay(&mut shown);
        assert_eq!((shown.mode, shown.accessed, shown.modified), (0o644, at(11), at(5)));
        assert_eq!(shown.changed, at(12));
    }

    #[test]
    fn a_write_overtakes_the_time_that_was_set_before() {
        let mut held = Held::default();
        held.add(&times(5), at(11));
        held.written();
        let changes = held.changes().expect("the access time is still held");
        assert_eq!((changes.modified, changes.accessed), (None, Some(TimeChange::At(at(11)))));
        assert_eq!(changes.made, Some(at(11)), "what was shown");
    }

    #[test]
    fn what_only_the_owner_decides_does_not_wait() {
        let plain = Attributes { mode: 0o644, ..crate::tests::directory() };
        let powerful = Attributes { mode: 0o4755, ..plain.clone() };
        let owner = AttributeChanges { uid: Some(7), ..AttributeChanges::default() };
        let length = AttributeChanges { size: Some(0), ..AttributeChanges::default() };
        let kill = AttributeChanges { kill_privileges: true, ..mode(0o644) };
        let unsound = TimeChange::At(Timestamp { seconds: 1, nanos: 1_000_000_000 });
        let unsound = AttributeChanges { accessed: Some(unsound), ..AttributeChanges::default() };
        let may_hold = |changes: &AttributeChanges, shown: &Attributes| Held::may_hold(changes, shown, false);
        assert!(may_hold(&mode(0o1755), &plain) && may_hold(&owner, &plain));
        assert!(may_hold(&mode(0o755), &powerful) && may_hold(&times(5), &plain));
        assert!(Held::may_hold(&times(5), &plain, true), "a time lets nobody read");
        assert!(!Held::may_hold(&mode(0o600), &plain, true) && !Held::may_hold(&owner, &plain, true));
        for (changes, shown) in [
            (mode(0o4755), &plain),
            (mode(0o2755), &plain),
            (owner, &powerful),
            (length, &plain),
            (kill, &plain),
            (unsound, &plain),
            (AttributeChanges::default(), &plain),
        ] {
            assert!(!may_hold(&changes, shown), "{changes:?}");
        }
    }
}
