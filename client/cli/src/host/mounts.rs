//! The kernel's mount table.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The kernel's id of it, as `/proc/<pid>/fdinfo` names it.
    pub id: u64,
    /// The device number, `major:minor` in decimal.
    pub device: (u32, u32),
    /// Where.
    pub at: PathBuf,
    /// The type, such as `fuse`.
    pub kind: OsString,
    /// What is mounted, such as `weft:default`.
    pub source: OsString,
    /// What holds for this mount, and for its filesystem wherever it is mounted: words with commas between them.
    pub options: String,
}

impl Mount {
    /// Whether it is a Weft filesystem.
    pub(crate) fn is_weft(&self) -> bool {
        let source = self.source.as_encoded_bytes();
        self.kind.as_encoded_bytes().starts_with(b"fuse") && source.starts_with(b"weft:")
    }

    /// Whether this is one of the words that hold for it.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|word| word == option)
    }
}

/// All mounts that this process sees, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountTable(Vec<Mount>);

impl MountTable {
    /// Reads the table.
    ///
    /// # Errors
    /// What the kernel says; it always answers where `/proc` is mounted.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    /// Reads the text of `/proc/self/mountinfo`. Lines of another form are left out.
    fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// What is mounted at this path, the topmost.
    pub(crate) fn at(&self, path: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.at == path)
    }

    /// The mount that a path lies on; the path is spelled as in the table.
    pub(crate) fn over(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|folder| self.at(folder))
    }

    /// What is mounted at this path or below it.
    pub(crate) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.at.starts_with(path))
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let _root = fields.next()?;
    let at = PathBuf::from(unescape(fields.next()?));
    let own = fields.next()?;
    // Optional fields end at a lone hyphen.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = unescape(rest.next()?);
    let source = unescape(rest.next()?);
    let options = [own, rest.next().unwrap_or_default()].map(String::from_utf8_lossy).join(",");
    Some(Mount { id, device: (major.parse().ok()?, minor.parse().ok()?), at, kind, source, options })
}

/// Undoes the kernel's `\040` for bytes that would end a field.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal =
            tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        let value =
            octal.map(|digits| digits.iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0')));
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

/// The path as the mount table spells it: absolute, without links. What is mounted there is asked nothing, since it
/// may be dead or wait for others; and it need not exist.
///
/// # Errors
/// When the folder above cannot be reached.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return absolute.canonicalize();
    };
    let real = parent.canonicalize()?.join(name);
    let is_mounted = MountTable::read()?.at(&real).is_some();
    let is_link = || real.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    if !is_mounted && is_link() { real.canonicalize() } else { Ok(real) }
}

/// Takes a mount away; [`Errno::BUSY`] when it is in use.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    unmount_with(path, UnmountFlags::empty(), &["-u"])
}

/// Takes a mount out of the tree at once, dead or in use; it is gone when its last user is.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    unmount_with(path, UnmountFlags::DETACH, &["-u", "-z"])
}

fn unmount_with(path: &Path, flags: UnmountFlags, for_fusermount: &[&str]) -> io::Result<()> {
    match rustix::mount::unmount(path, flags) {
        // Only root may unmount by the system call; the helper that mounted may unmount.
        Err(Errno::PERM) => {
            let mut command = std::process::Command::new("fusermount3");
            command.args(for_fusermount).arg("--").arg(path);
            command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            let said = command.output()?;
            let text = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            match said.status.success() {
                true => Ok(()),
                false if text.contains("busy") => Err(Errno::BUSY.into()),
                false => Err(io::Error::other(text)),
            }
        }
        other => Ok(other?),
    }
}

/// How long the process behind a mount may take to say anything.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Whether the kernel says that the process behind the mount at this path is gone. One that is there and says nothing is not.
pub(crate) fn is_dead(path: &Path) -> bool {
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    // Who is not answered waits until this program ends.
    let ask = move || drop(tell.send(rustix::fs::statvfs(&path)));
    let asked = std::thread::Builder::new().name("ask".to_owned()).spawn(ask);
    asked.is_ok() && matches!(told.recv_timeout(ANSWER_PATIENCE), Ok(Err(Errno::NOTCONN)))
}

/// A path shown to people: relative when it is below the current folder.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let relative = path.strip_prefix(&here).ok().filter(|rest| !rest.as_os_str().is_empty());
    String::from_utf8_lossy(relative.unwrap_or(path).as_os_str().as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        90 22 0:44 / /srv/with\\040space\\134 rw,nosuid shared:7 master:2 - fuse.weft weft:default rw,user_id=0\n\
        nonsense\n\
        91 90 0:45 / /srv/with\\040space\\134 rw - tmpfs tmpfs rw\n\
        92 22 0:46 / /srv/with rw - proc proc rw\n";

    #[test]
    fn lines_of_the_table_are_read() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.0.len(), 4);
        let weft = &table.0[1];
        assert!(weft.is_weft());
        assert_eq!((weft.id, weft.device), (90, (0, 44)));
        assert!(weft.has("nosuid") && weft.has("user_id=0") && !weft.has("suid"), "{}", weft.options);
        assert_eq!(
            (weft.at.as_path(), weft.source.as_os_str()),
            (Path::new("/srv/with space\\"), "weft:default".as_ref())
        );
    }

    #[test]
    fn the_topmost_mount_counts_and_names_are_whole() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.at(Path::new("/srv/with space\\")).map(|mount| mount.id), Some(91));
        assert_eq!(table.at(Path::new("/srv")), None);
        assert_eq!(table.over(Path::new("/srv/with/x/y")).map(|mount| mount.id), Some(92));
        assert_eq!(table.over(Path::new("/srv/without")).map(|mount| mount.id), Some(22));
        assert_eq!(table.below(Path::new("/srv/with")).count(), 1);
        assert_eq!(table.below(Path::new("/srv")).count(), 3);
    }

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        let rows = [
            ("a\\040b", "a b"),
            ("\\011\\012\\134", "\t\n\\"),
            ("\\04", "\\04"),
            ("\\999", "\\999"),
            ("\\777", "\\777"),
        ];
        for (field, text) in rows {
            assert_eq!(unescape(field.as_bytes()), OsStr::new(text), "{field}");
        }
    }

    #[test]
    fn the_root_is_mounted_here_too() {
        let table = MountTable::read().expect("the kernel answers");
        assert!(table.at(Path::new("/")).is_some_and(|root| !root.is_weft()));
        assert!(!is_dead(Path::new("/")));
    }

    #[test]
    fn a_path_is_spelled_as_in_the_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it exists");
        std::fs::create_dir(root.join("real")).expect("mkdir");
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).expect("symlink");
        for path in ["real", "link", "real/../real", "link/."] {
            assert_eq!(real_path(&root.join(path)).expect(path), root.join("real"), "{path}");
        }
        assert_eq!(
            real_path(&root.join("link/missing")).expect("its folder exists"),
            root.join("real/missing")
        );
    }
}
