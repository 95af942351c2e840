//! `mount.weft`: what `mount(8)` runs for the type `weft`, for `/etc/fstab` too. It is this program by another name.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use weft_fuse::{MountOptions, OptionError};

use crate::cluster::Cluster;
use crate::commands::mount::{self, MountCommandError, MountPointError, Wanted};
use crate::commands::remount::{self, RemountError};
use crate::error::{CommandError, with_next_step};
use crate::host::mounts;

/// By the type of `/etc/fstab`, and by the type that the kernel shows.
const NAMES: [&str; 2] = ["mount.weft", "mount.fuse.weft"];
/// `mount(8)`: wrong usage or no permission.
const USAGE: u8 = 1;
/// `mount(8)`: the mount failed.
const FAILED: u8 = 32;

/// Mounts a Weft filesystem for mount(8)
#[derive(Debug, Parser)]
#[command(name = "mount.weft", version, max_term_width = 100)]
struct HelperArguments {
    /// weft: and the filesystem's name, such as weft:default
    #[arg(value_name = "SOURCE")]
    source: String,
    /// An existing directory
    path: PathBuf,
    /// Mount options with commas between them; dir=PATH says the cluster's directory
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Leave out options that are none
    #[arg(short)]
    sloppy: bool,
    /// Check everything, and mount nothing
    #[arg(short)]
    fake: bool,
    /// Without /etc/mtab, which is never written
    #[arg(short)]
    no_mtab: bool,
    /// Say what is done
    #[arg(short)]
    verbose: bool,
    /// A namespace
    #[arg(short = 'N', value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The type, weft or fuse.weft
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

/// Why the helper did nothing.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    /// What is to be mounted is not said as it has to be.
    #[error("{0:?} does not say what to mount")]
    Source(String),
    /// Nothing says which cluster.
    #[error("the options do not say which cluster")]
    NoDirectory,
    /// It depends on where this is run.
    #[error("dir={} is not an absolute path", .0.display())]
    RelativeDirectory(PathBuf),
    /// Mounting elsewhere.
    #[error("-N is not done here")]
    Namespace,
    /// A word is no option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// There is no cluster, or it cannot be used.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountCommandError),
    /// It stays as it was.
    #[error(transparent)]
    Remount(#[from] RemountError),
}

impl HelperError {
    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Source(_) => "write weft: and the filesystem's name, such as weft:default",
            Self::NoDirectory => {
                "add the option dir= with the cluster's directory, such as dir=/srv/weft-data"
            }
            Self::RelativeDirectory(_) => "begin it with /",
            Self::Namespace => "use `nsenter --mount=... mount ...`",
            Self::Command(error) => return error.next_step(),
            Self::Mount(error) => return error.next_step(),
            Self::Remount(error) => return error.next_step(),
            Self::Option(_) => return None,
        };
        Some(step.to_owned())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Remount(RemountError::Option(_)) => USAGE,
            Self::Command(_) | Self::Mount(_) | Self::Remount(_) => FAILED,
            _ => USAGE,
        }
    }
}

/// Whether this program was run by one of the helper's names.
pub(crate) fn is_called(program: Option<&OsStr>) -> bool {
    let name = program.map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    name.is_some_and(|name| NAMES.contains(&name))
}

/// Mounts or remounts as `mount(8)` asks. 0: done; 1: wrong usage; 32: failed, said in one line.
pub(crate) fn main() -> ExitCode {
    let arguments = match HelperArguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => {
            // Nobody is left to be told when the stream is closed.
            let _ = said.print();
            return if said.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = with_next_step(&error, error.next_step());
            let _ = writeln!(std::io::stderr(), "mount.weft: {line}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &HelperArguments) -> Result<(), HelperError> {
    if arguments.namespace.is_some() {
        return Err(HelperError::Namespace);
    }
    let asked = Asked::read(&arguments.options.join(","), arguments.sloppy)?;
    if asked.remount {
        // Without a directory the process behind the mount is looked for.
        let (dir, source, path) = (asked.dir.as_deref(), &*arguments.source, &*arguments.path);
        let asked = remount::Asked { dir, source, path, options: &asked.options };
        let done = if arguments.fake { Ok(()) } else { remount::remount(&asked) };
        return Ok(done?);
    }
    let dir = asked.dir.or_else(|| std::env::var_os("WEFT_DIR").map(PathBuf::from));
    let filesystem = filesystem(&arguments.source)?;
    let dir = dir.ok_or(HelperError::NoDirectory)?;
    if !dir.is_absolute() {
        return Err(HelperError::RelativeDirectory(dir));
    }
    MountOptions::parse(&asked.options)?;
    let cluster = Cluster::open(&dir).map_err(CommandError::from)?;
    let wanted = Wanted { filesystem, path: arguments.path.clone(), options: asked.options };
    if arguments.fake {
        return Ok(check(&wanted)?);
    }
    let (plan, _) = mount::mount(&cluster, &wanted)?;
    if arguments.verbose {
        // It is mounted, whoever hears of it.
        let _ = writeln!(std::io::stdout(), "{} is mounted at {}", plan.filesystem, mounts::shown(&plan.at));
    }
    Ok(())
}

/// Whether it could be mounted.
fn check(wanted: &Wanted) -> Result<(), MountCommandError> {
    match mount::check_point(&wanted.path) {
        Ok(_) | Err(MountPointError::Dead(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn filesystem(source: &str) -> Result<String, HelperError> {
    let name = source.strip_prefix("weft:").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| HelperError::Source(source.to_owned()))
}

/// What a list of options asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// `dir=`: the cluster's directory.
    dir: Option<PathBuf>,
    /// `remount`
    remount: bool,
    /// All others.
    options: String,
}

impl Asked {
    fn read(list: &str, sloppy: bool) -> Result<Self, OptionError> {
        let mut asked = Self { dir: None, remount: false, options: String::new() };
        let mut others = Vec::new();
        for word in list.split(',').filter(|word| !word.is_empty()) {
            match (word, word.strip_prefix("dir=")) {
                (_, Some(dir)) => asked.dir = Some(PathBuf::from(dir)),
                ("remount", _) => asked.remount = true,
                _ => others.push(word),
            }
        }
        if sloppy {
            others.retain(|word| !matches!(MountOptions::parse(word), Err(OptionError::Unknown { .. })));
        }
        asked.options = others.join(",");
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn mount_calls_it_by_its_names() {
        for (name, called) in [
            ("/sbin/mount.weft", true),
            ("mount.fuse.weft", true),
            ("/usr/bin/weft", false),
            ("/sbin/mount.weft/", true),
            ("", false),
        ] {
            assert_eq!(is_called(Some(OsStr::new(name))), called, "{name}");
        }
        assert!(!is_called(None));
        HelperArguments::command().debug_assert();
    }

    #[test]
    fn the_arguments_are_those_of_mount() {
        let line = "mount.weft weft:default /mnt -s -f -n -v -o rw,dir=/srv/a -t fuse.weft";
        let arguments = HelperArguments::try_parse_from(line.split(' ')).expect("as mount(8) calls it");
        assert!(arguments.sloppy && arguments.fake && arguments.no_mtab && arguments.verbose);
        let line = "mount.weft weft:default /mnt -sfnv -o rw -o dir=/srv/a";
        let arguments = HelperArguments::try_parse_from(line.split(' ')).expect("as people call it");
        assert_eq!(arguments.options.join(","), "rw,dir=/srv/a");
        assert!(arguments.sloppy && arguments.verbose);
    }

    #[test]
    fn a_list_says_where_the_cluster_is_and_the_rest_is_the_mounts() {
        let asked = Asked::read("rw,dir=/srv/a,noatime,_netdev,fast", false).expect("read");
        let options = "rw,noatime,_netdev,fast".to_owned();
        assert_eq!(asked, Asked { dir: Some("/srv/a".into()), remount: false, options });
        let asked = Asked::read("remount,fast,ro,memory=1", true).expect("read");
        assert_eq!(asked, Asked { dir: None, remount: true, options: "ro,memory=1".to_owned() });
    }

    #[test]
    fn errors_say_what_to_write() {
        let run = |line: &str| {
            let arguments = HelperArguments::try_parse_from(line.split(' ')).expect(line);
            let error = super::run(&arguments).expect_err(line);
            (error.exit_code(), with_next_step(&error, error.next_step()))
        };
        let rows = [
            ("mount.weft default /mnt -o dir=/srv/a", USAGE, "weft:default"),
            ("mount.weft weft: /mnt -o dir=/srv/a", USAGE, "weft:default"),
            ("mount.weft weft:default /mnt -o dir=here", USAGE, "absolute"),
            ("mount.weft weft:default /mnt -o fast,dir=/srv/a", USAGE, "'fast'"),
            ("mount.weft weft:default /mnt -o dir=/nowhere/at/all", FAILED, "weft up"),
            ("mount.weft weft:default /proc/none -o remount,ro", FAILED, "is not mounted by weft"),
        ];
        for (line, code, word) in rows {
            let (exit, said) = run(line);
            assert_eq!(exit, code, "{line}: {said}");
            assert!(said.contains(word), "{line}: {said}");
        }
    }
}
