//! Counters: epochs, versions, generations and positions, each a type of its own.

use core::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize)]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(#[n(0)] $int);

        impl $name {
            /// The counter with this value.
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The value, for row keys, file headers and authenticated data.
            pub const fn get(self) -> $int {
                self.0
            }

            /// The next value. Panics on overflow: 64 bits outlast the hardware, and smaller counters are
            /// checked where they are handed out.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("counter overflow"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// Ownership of a metadata shard, or the membership of a placement group, in the order they were granted.
    /// The higher one wins; what carries a lower one comes from somebody who has been replaced.
    Epoch(u64)
);
counter!(
    /// How often a drive was formatted or declared blank: tells a drive that kept its data from one that lost it.
    Incarnation(u64)
);
counter!(
    /// Tells an inode from an earlier one of the same number.
    Generation(u64)
);
counter!(
    /// A version of the cluster map; every change makes the next.
    MapVersion(u64)
);
counter!(
    /// A version of the cluster store; every durable change makes the next.
    StoreVersion(u64)
);
counter!(
    /// A placement group: an ordered list of drives in distinct failure domains.
    GroupId(u32)
);
counter!(
    /// A version of a filesystem key. Starts at 1.
    KeyVersion(u32)
);
counter!(
    /// A data key's row, counted by the files that use it. Starts at 1.
    DataKeyId(u64)
);
counter!(
    /// A metadata shard of a filesystem. The first version runs one, number 0, per filesystem.
    MetadataShard(u16)
);
counter!(
    /// One of a session's numbered slots: at most one operation is under way in a slot.
    SlotId(u16)
);
counter!(
    /// The operations of a slot in the order they were issued. Starts at 1.
    SlotSeq(u64)
);

/// Where a batch stands in a metadata shard's log: by ownership epoch, then by sequence within it.
///
/// The sequence goes on over ownerships: it never restarts at a new epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
pub struct Position {
    /// The ownership under which the batch was committed.
    #[n(0)]
    pub epoch: Epoch,
    /// The batch's number in the log; the first batch is 1, and 0 is before every batch.
    #[n(1)]
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_is_after_every_position_of_an_earlier_one() {
        let old = Position { epoch: Epoch::new(1), seq: u64::MAX };
        let new = Position { epoch: Epoch::new(2), seq: 0 };
        assert!(old < new);
    }

    #[test]
    fn a_counter_is_one_integer_on_the_wire() {
        assert_eq!(minicbor::to_vec(Epoch::new(7)).expect("encodes"), [0x07]);
        assert_eq!(minicbor::decode::<GroupId>(&[0x18, 0x20]).expect("decodes"), GroupId::new(32));
        assert!(minicbor::decode::<SlotId>(&[0x1a, 0, 1, 0, 0]).is_err(), "65536 is no slot");
    }
}
