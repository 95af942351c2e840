//! What is done, and what comes of it.

/// The mount through which something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// One operation through one mount. What is done with a descriptor is done on the mount where it was opened.
#[derive(Debug, Clone)]
pub struct Step {
    /// The mount.
    pub side: Side,
    /// The operation.
    pub action: Action,
}

/// What a descriptor is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    Both,
}

/// How something is opened: each field is the flag of this name.
#[derive(Debug, Clone, Copy)]
pub struct Open {
    /// The access mode.
    pub access: Access,
    /// `O_CREAT`, with the mode; not together with `directory`.
    pub create: Option<u32>,
    /// `O_EXCL`; only together with `create`.
    pub exclusive: bool,
    /// `O_TRUNC`; only for writing.
    pub truncate: bool,
    /// `O_APPEND`.
    pub append: bool,
    /// `O_DIRECTORY`.
    pub directory: bool,
    /// `O_NOFOLLOW`.
    pub no_follow: bool,
}

/// The flags of renameat2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameHow {
    /// None.
    Replace,
    /// `RENAME_NOREPLACE`.
    NoReplace,
    /// `RENAME_EXCHANGE`.
    Exchange,
}

/// The flags of setxattr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetHow {
    /// None.
    Any,
    /// `XATTR_CREATE`.
    Create,
    /// `XATTR_REPLACE`.
    Replace,
}

/// One operation. Paths are relative, of names with one slash between them; `slot` is below [`SLOTS`](super::SLOTS).
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    Open {
        slot: usize,
        path: String,
        how: Open,
    },
    Close {
        slot: usize,
    },
    /// pwrite of a [`pattern`].
    Write {
        slot: usize,
        at: u64,
        len: usize,
        fill: u8,
    },
    Read {
        slot: usize,
        at: u64,
        len: usize,
    },
    ResizeOpen {
        slot: usize,
        len: u64,
    },
    ModeOpen {
        slot: usize,
        mode: u32,
    },
    StatOpen {
        slot: usize,
    },
    Sync {
        slot: usize,
    },
    /// The whole content by a descriptor of its own.
    ReadAll {
        path: String,
    },
    Resize {
        path: String,
        len: u64,
    },
    MakeDirectory {
        path: String,
        mode: u32,
    },
    MakeSocket {
        path: String,
        mode: u32,
    },
    Symlink {
        target: String,
        path: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    RemoveDirectory {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        how: RenameHow,
    },
    Mode {
        path: String,
        mode: u32,
    },
    Owner {
        path: String,
        uid: u32,
        gid: u32,
    },
    /// utimensat of the modification time.
    Modified {
        path: String,
        seconds: i64,
        nanos: u32,
    },
    Stat {
        path: String,
        follow: bool,
    },
    ReadLink {
        path: String,
    },
    List {
        path: String,
    },
    SetXattr {
        path: String,
        name: String,
        value: Vec<u8>,
        how: SetHow,
    },
    GetXattr {
        path: String,
        name: String,
    },
    ListXattrs {
        path: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Socket,
}

/// What stat tells and the model knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Its twelve bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its names; of a directory two and one for each directory in it.
    pub links: u64,
    /// Length in bytes of a file or a symbolic link; of others filesystems say different things.
    pub size: Option<u64>,
    /// Modification time, seconds and nanoseconds, when it was set and nothing has happened since that may change it.
    pub modified: Option<(i64, u32)>,
}

/// What comes of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, nothing to tell.
    Done,
    /// The slot has no descriptor: nothing is done.
    NotOpen,
    /// So many bytes.
    Count(usize),
    /// These bytes.
    Bytes(Vec<u8>),
    /// These attributes.
    Attributes(Attributes),
    /// These names, sorted.
    Names(Vec<String>),
    /// Refused with this errno.
    Refused(i32),
}

impl Outcome {
    /// Whether what was found is what this, the model's outcome, says.
    pub fn is_met_by(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Attributes(expected), Self::Attributes(found)) => {
                let mut found = found.clone();
                found.modified = expected.modified.and(found.modified);
                *expected == found
            }
            _ => self == found,
        }
    }
}

/// The bytes of a write: different for each fill, and no two neighbours alike.
pub fn pattern(fill: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((usize::from(fill) * 17 + at) % 251) as u8).collect()
}
