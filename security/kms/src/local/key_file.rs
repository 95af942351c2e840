//! The file of the local provider's key.
//!
//! One line of text: `weft-local-kms-key <version> <key id> <key> <checksum>`, where the version is 1, the id is 32 and
//! the key 64 hexadecimal digits, and the checksum is the SHA-256, in 64 digits, of all before its space.

use core::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use weft_keys::KEY_BYTES;
use zeroize::Zeroizing;

const MAGIC: &str = "weft-local-kms-key";
const VERSION: &str = "1";

/// A key file is 184 bytes; what is longer than this is none.
const MOST_BYTES: u64 = 512;

/// Tells one key file from another. Random, not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalKeyId([u8; Self::BYTES]);

impl LocalKeyId {
    /// Bytes of an id.
    pub const BYTES: usize = 16;

    pub(crate) const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }
}

impl fmt::Display for LocalKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a key file is not used. Every message names the file, the cause and the next step.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No such file.
    #[error("the KMS key file {} is missing: restore it from a backup, or mount what it lies on", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A new file would replace one.
    #[error("the KMS key file {} exists already and is not replaced: choose another path", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can use it.
    #[error(
        "the KMS key file {} has mode {mode:04o}, so others than its owner may use it: run `chmod 600 {}`, and \
         rotate the key if someone may have read it", .path.display(), .path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe, a device.
    #[error("the KMS key file {} is not a regular file: correct the path", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Does not begin as a key file does.
    #[error("{} is not a KMS key file: correct the path", .path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// Made by a later version.
    #[error("the KMS key file {} is of a newer format: use the Weft that made it, or a newer one", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
    },
    /// Cut off, or changed.
    #[error("the KMS key file {} is truncated or damaged: restore it from a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system failed to read or write it.
    #[error("the KMS key file {} cannot be {action}: check the disk and the permissions of its directory",
        .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl KeyFileError {
    /// Whether the same call may succeed later: the file can come back, but what it says stays wrong.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Io { .. })
    }
}

/// A key as its file holds it. Wiped on drop.
pub(crate) struct KeyFile {
    id: LocalKeyId,
    key: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// A new key; `None` when the system gives no random bytes.
    pub(crate) fn generate() -> Option<Self> {
        let mut id = [0; LocalKeyId::BYTES];
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        rand::fill(&mut id).and_then(|()| rand::fill(&mut key)).ok()?;
        Some(Self { id: LocalKeyId(id), key })
    }

    pub(crate) fn id(&self) -> LocalKeyId {
        self.id
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Reads a file that only its owner can use.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
            _ => KeyFileError::Io { path: path.to_owned(), action: "read", source },
        };
        // Opening a pipe would otherwise wait for its writer.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
        // Of the open file, not of the path: what is checked is what is read.
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(KeyFileError::NotAFile { path: path.to_owned() });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST_BYTES).unwrap_or(512)));
        file.take(MOST_BYTES).read_to_end(&mut text).map_err(failed)?;
        Self::parse(&text, path)
    }

    /// Writes the file under a name of its own, then gives it `path`, which must not exist: whoever sees `path` sees
    /// a whole file.
    pub(crate) fn write_new(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
            _ => KeyFileError::Io { path: path.to_owned(), action: "written", source },
        };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}", self.id));
        let unfinished = PathBuf::from(unfinished);
        let written = write_durably(&unfinished, &self.to_text())
            .and_then(|()| fs::hard_link(&unfinished, path))
            .map_err(failed);
        // A file left behind by a crash holds a key that wraps nothing.
        let removed = fs::remove_file(&unfinished);
        written?;
        removed.and_then(|()| sync_directory_of(path)).map_err(failed)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(256));
        for part in [MAGIC, " ", VERSION, " ", &self.id.to_string(), " "] {
            text.push_str(part);
        }
        push_hex(&mut text, &self.key);
        let checksum = digest::digest(&digest::SHA256, text.as_bytes());
        text.push(' ');
        push_hex(&mut text, checksum.as_ref());
        text.push('\n');
        text
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, KeyFileError> {
        let damaged = || KeyFileError::Damaged { path: path.to_owned() };
        if bytes.is_empty() {
            return Err(damaged());
        }
        let not_a_key_file = || KeyFileError::NotAKeyFile { path: path.to_owned() };
        let text = str::from_utf8(bytes).map_err(|_| not_a_key_file())?;
        let fields = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
        let Some(fields) = fields else {
            let cut_off = MAGIC.starts_with(text);
            return Err(if cut_off { damaged() } else { not_a_key_file() });
        };
        if let Some((version, _)) = fields.split_once(' ')
            && version != VERSION
            && version.parse::<u32>().is_ok()
        {
            return Err(KeyFileError::NewerFormat { path: path.to_owned() });
        }
        Self::parse_fields(fields).filter(|file| file.to_text().as_bytes() == bytes).ok_or_else(damaged)
    }

    /// Reads version, id and key; the checksum is for [`parse`](Self::parse), which writes the file anew to compare.
    fn parse_fields(fields: &str) -> Option<Self> {
        let mut fields = fields.split(' ').skip(1);
        let mut id = [0; LocalKeyId::BYTES];
        read_hex(fields.next()?, &mut id)?;
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        read_hex(fields.next()?, &mut key)?;
        Some(Self { id: LocalKeyId(id), key })
    }
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(digit.into(), 16).expect("4 bits are a digit"));
        }
    }
}

fn read_hex(digits: &str, out: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(())
}
