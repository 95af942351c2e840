//! What each command does.

pub(crate) mod bench;
pub(crate) mod containers;
pub(crate) mod down;
pub(crate) mod drives;
pub(crate) mod filesystem;
pub(crate) mod logs;
pub(crate) mod map;
pub(crate) mod mount;
pub(crate) mod recover;
pub(crate) mod remount;
pub(crate) mod resources;
pub(crate) mod status;
pub(crate) mod umount;
pub(crate) mod up;

use crate::arguments::{Arguments, ClusterCommand, Command, FrontendArguments};
use crate::cluster::Cluster;
use crate::error::CommandError;
use crate::frontend;
use crate::host::launch;
use crate::start::MountPlan;

/// Does what was typed.
///
/// # Errors
/// [`CommandError`], to be shown in one line.
pub(crate) fn run(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { dir, json, command } = arguments;
    match command {
        Command::Up(options) => up::run(&dir, &options, json),
        Command::Down(options) => down::run(&dir, &options, json),
        Command::Status => status::run(&Cluster::open(&dir)?, json),
        Command::Logs(options) => logs::run(&Cluster::open(&dir)?, &options, json),
        Command::Mount(options) => mount::run(&Cluster::open(&dir)?, options, json),
        Command::Umount(options) => umount::run(&dir, &options, json),
        Command::Fs { command } => filesystem::run(&Cluster::open(&dir)?, command, json),
        Command::Drive { .. } => drives::run(&Cluster::open(&dir)?, json),
        Command::Container { .. } => containers::run(&Cluster::open(&dir)?, json),
        Command::Cluster { command: Some(ClusterCommand::Recover(options)) } => {
            recover::run(&dir, &options, json)
        }
        Command::Cluster { command: None | Some(ClusterCommand::Map) } => {
            map::run(&Cluster::open(&dir)?, json)
        }
        Command::Bench(options) => bench::run(&dir, &options, json),
        Command::Resources { command } => Ok(resources::run(&command)?),
        Command::Frontend(options) => serve_mount(&Cluster::open(&dir)?, options),
        Command::Detached(options) => {
            let source = launch::become_detached(&options.program);
            let program = options.program.first().map(|program| program.to_string_lossy().into_owned());
            Err(CommandError::Detached { program: program.unwrap_or_default(), source })
        }
    }
}

fn serve_mount(cluster: &Cluster, options: FrontendArguments) -> Result<(), CommandError> {
    let FrontendArguments { container, filesystem, at, options } = options;
    frontend::start_logging();
    Ok(frontend::run(cluster, &MountPlan { container, filesystem, at, options })?)
}
