//! Numbers that the kernel and the filesystem know things by.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The one with this number.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A request. Never given twice by one mount.
    Unique
);
id!(
    /// An inode, as the filesystem told the kernel to call it.
    NodeId
);
id!(
    /// An open file, as the filesystem told the kernel to call it.
    Handle
);
id!(
    /// Whose lock it is: of a POSIX lock a process's table of descriptors, else an open file description.
    LockOwner
);

impl NodeId {
    /// The directory that is mounted.
    pub const ROOT: Self = Self(1);
}
