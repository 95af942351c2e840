//! The command `weft`: mount, administer.

mod admin;
mod arguments;
mod behind;
mod cluster;
mod commands;
mod container;
mod error;
mod frontend;
mod host;
mod mount_helper;
mod output;
mod progress;
mod start;
mod stop;
mod unmount;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

/// Shards are megabytes that come and go: measured, this halves the CPU time of moving one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0: done; 1: failed, said in one line; 2, by clap: wrong usage.
fn main() -> ExitCode {
    if mount_helper::is_called(std::env::args_os().next().as_deref()) {
        return mount_helper::main();
    }
    match commands::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", error.line());
            ExitCode::FAILURE
        }
    }
}
