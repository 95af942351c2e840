//! What people type.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use weft_bench::Workload;
use weft_fuse::{MOUNT_OPTIONS_HELP, MountOptions, OptionError};
use weft_layout::Protection;
use weft_resources::ContainerName;
use weft_types::ByteCount;

/// An encrypted, erasure-coded, distributed POSIX filesystem
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// The cluster's directory
    #[arg(long, global = true, env = "WEFT_DIR", value_name = "DIR", default_value = "weft-data")]
    #[arg(hide_env_values = true)]
    pub dir: PathBuf,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A command and its own arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Form or resume a whole cluster on this host, and mount it
    Up(UpArguments),
    /// Unmount, and stop every process; the data stays
    Down(DownArguments),
    /// Show health, damage, redundancy and room
    Status,
    /// Show what containers logged
    Logs(LogsArguments),
    /// Mount a filesystem
    Mount(MountArguments),
    /// Unmount a filesystem
    Umount(UmountArguments),
    /// Create, list and delete filesystems
    Fs {
        /// What to do with them; none lists them.
        #[command(subcommand)]
        command: Option<FsCommand>,
    },
    /// List drives, their state and room
    Drive {
        /// What to do with them; none lists them.
        #[command(subcommand)]
        command: Option<DriveCommand>,
    },
    /// List containers: the processes of the cluster
    Container {
        /// What to do with them; none lists them.
        #[command(subcommand)]
        command: Option<ContainerCommand>,
    },
    /// Show the cluster map: who is where; recover a cluster from its drives
    Cluster {
        /// What to do; none shows the map.
        #[command(subcommand)]
        command: Option<ClusterCommand>,
    },
    /// Measure a directory, and what this machine could give at most
    Bench(BenchArguments),
    /// Write shell completions and man pages
    #[command(hide = true)]
    Resources {
        /// Which of them.
        #[command(subcommand)]
        command: ResourcesCommand,
    },
    /// Serve a mount until it is unmounted
    #[command(hide = true)]
    Frontend(FrontendArguments),
    /// Become a program in a session of its own
    #[command(hide = true)]
    Detached(DetachedArguments),
}

/// Of `weft up`. What is absent was not typed: only what was typed can differ from a cluster that exists.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct UpArguments {
    /// Where to mount the filesystem `default` [default: DIR/mnt]
    #[arg(long, value_name = "PATH")]
    pub mount: Option<PathBuf>,
    /// How many drives, each a process of its own [default: 6]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub drives: Option<u32>,
    /// Data and parity shards of every stripe [default: 4+2]
    #[arg(long, value_name = "N+M")]
    pub protection: Option<Protection>,
    /// Size of each drive [default: all fit into half of the free space]
    #[arg(long, value_name = "SIZE")]
    pub drive_size: Option<ByteCount>,
    /// The first UDP port on 127.0.0.1 [default: 7400]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port_base: Option<u16>,
    /// Stay, and stop everything on SIGINT or SIGTERM
    #[arg(long)]
    pub foreground: bool,
}

/// Of `weft down`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DownArguments {
    /// Remove the cluster and all its data afterwards
    #[arg(long)]
    pub destroy: bool,
    /// Detach a mount that is in use, and kill what does not stop
    #[arg(long)]
    pub force: bool,
    /// Do not ask before destroying
    #[arg(long, short)]
    pub yes: bool,
}

/// Of `weft logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Of this container only, such as drive0
    pub name: Option<ContainerName>,
    /// Go on with what is logged from now on
    #[arg(long, short)]
    pub follow: bool,
    /// How many lines of each container
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub lines: usize,
}

/// Of `weft mount`.
#[derive(Debug, Args)]
#[command(after_help = MOUNT_OPTIONS_HELP)]
pub(crate) struct MountArguments {
    /// The filesystem's name, such as default
    #[arg(value_name = "FS")]
    pub filesystem: String,
    /// An existing directory
    pub path: PathBuf,
    /// Mount options with commas between them, such as ro,noatime; below
    #[arg(short = 'o', value_name = "OPTIONS", default_value = "", hide_default_value = true)]
    #[arg(value_parser = mount_options)]
    pub options: String,
    /// Stay until it is unmounted
    #[arg(long)]
    pub foreground: bool,
}

/// Of `weft umount`.
#[derive(Debug, Args)]
pub(crate) struct UmountArguments {
    /// Where it is mounted
    pub path: PathBuf,
    /// Detach it now, though files are open or its process or its cluster does not answer
    #[arg(long, short)]
    pub lazy: bool,
}

/// What to do with filesystems.
#[derive(Debug, Subcommand)]
pub(crate) enum FsCommand {
    /// Create a filesystem with keys of its own
    Create {
        /// 1 to 63 of a-z, 0-9, '-', '_' and '.', the first a letter or digit
        name: String,
    },
    /// List filesystems
    List,
    /// Delete a filesystem and all that is in it, for good
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What to do with drives.
#[derive(Debug, Subcommand)]
pub(crate) enum DriveCommand {
    /// List drives
    List,
}

/// What to do with containers.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// List containers
    List,
}

/// What to show of the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the cluster map
    Map,
    /// Make the cluster's directory again from its drives and its KMS key alone
    Recover(RecoverArguments),
}

/// Of `weft cluster recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArguments {
    /// The drives' devices: files or block devices, in any order
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub devices: Vec<PathBuf>,
    /// The file that holds the KMS key
    #[arg(long, value_name = "FILE")]
    pub kms_key: PathBuf,
    /// Go on with less than a majority of the copies of the cluster store: what only the missing
    /// drives know is lost, and they must never come back
    #[arg(long)]
    pub accept_loss: bool,
    /// Where to mount the filesystem `default` [default: where it was]
    #[arg(long, value_name = "PATH")]
    pub mount: Option<PathBuf>,
}

/// Of `weft bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// A directory, on a Weft mount or on any other filesystem
    pub path: PathBuf,
    /// Size of the large file [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<ByteCount>,
    /// Small files, of all threads together [default: 5000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub files: Option<u32>,
    /// How long each random workload goes on at most [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: Option<u32>,
    /// How often each is measured; the median counts [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: Option<u32>,
    /// Only these workloads, with commas between them, such as seq-write,rand-read-d16
    #[arg(long, value_name = "WORKLOADS", value_delimiter = ',')]
    pub only: Vec<Workload>,
    /// As little as shows whether it works; the figures say nothing
    #[arg(long)]
    pub small: bool,
    /// Do not measure what this machine could give
    #[arg(long)]
    pub no_ceilings: bool,
    /// Of contents and orders [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Leave the files there
    #[arg(long)]
    pub keep: bool,
}

/// What to write for an installation.
#[derive(Debug, Subcommand)]
pub(crate) enum ResourcesCommand {
    /// Completions for bash, zsh and fish, below a `share` folder
    Completions {
        /// The folder
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Man pages
    Man {
        /// The folder
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Of the process behind a mount.
#[derive(Debug, Args)]
pub(crate) struct FrontendArguments {
    /// The container it runs as
    #[arg(long)]
    pub container: ContainerName,
    /// The filesystem's name
    #[arg(long)]
    pub filesystem: String,
    /// Where to mount it
    #[arg(long)]
    pub at: PathBuf,
    /// Mount options
    #[arg(short = 'o', default_value = "", value_parser = mount_options)]
    pub options: String,
}

/// Of a program that outlives its terminal.
#[derive(Debug, Args)]
pub(crate) struct DetachedArguments {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<std::ffi::OsString>,
}

/// A list of mount options, checked and kept as it was typed.
fn mount_options(list: &str) -> Result<String, OptionError> {
    MountOptions::parse(list).map(|_| list.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn refused(line: &str) -> clap::Error {
        let words = line.split(' ');
        Arguments::try_parse_from(words).map(|_| ()).expect_err(line)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_fits_one_screen() {
        let mut command = Arguments::command().term_width(80);
        let help = command.render_help().to_string();
        assert!(help.lines().count() <= 24, "{} lines:\n{help}", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        for shown in [
            "up",
            "down",
            "status",
            "logs",
            "mount",
            "umount",
            "fs",
            "drive",
            "container",
            "cluster",
            "bench",
        ] {
            let row = format!("  {shown} ");
            assert!(help.lines().any(|line| line.starts_with(&row)), "{shown} is missing:\n{help}");
        }
        for hidden in ["frontend", "detached", "resources"] {
            assert!(!help.contains(hidden), "{hidden} is shown:\n{help}");
        }
    }

    #[test]
    fn wrong_values_name_the_option() {
        let rows = [
            ("weft up --protection 4", "--protection"),
            ("weft up --protection 4+3", "--protection"),
            ("weft up --protection 99+2", "--protection"),
            ("weft up --drives 0", "--drives"),
            ("weft up --drive-size lots", "--drive-size"),
            ("weft up --port-base 70000", "--port-base"),
            ("weft bench /mnt --only seq-write,fast", "--only"),
            ("weft bench /mnt --runs 0", "--runs"),
            ("weft logs ../x", "NAME"),
            ("weft mount default /mnt -o fast", "-o <OPTIONS>"),
        ];
        for (line, word) in rows {
            let error = refused(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_wrong_usage() {
        for line in [
            "weft",
            "weft frobnicate",
            "weft fs create",
            "weft cluster recover --kms-key x",
            "weft cluster recover --devices x",
            "weft mount",
            "weft mount default",
            "weft umount",
            "weft bench",
        ] {
            let error = refused(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{line}");
        }
    }

    #[test]
    fn a_bare_noun_lists_and_takes_the_same_options() {
        for line in ["weft fs --json", "weft fs list --json", "weft --json fs", "weft drive --json --dir x"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect(line);
            assert!(arguments.json, "{line}");
        }
    }

    #[test]
    fn only_what_was_typed_is_given() {
        let arguments = Arguments::try_parse_from(["weft", "up", "--drives", "9"]).expect("parses");
        let Command::Up(up) = arguments.command else { panic!("not up") };
        assert_eq!((up.drives, up.protection, up.port_base), (Some(9), None, None));
    }
}
