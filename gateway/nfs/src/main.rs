//! The command `weft-gateway`: the NFS gateway over core.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// The NFS gateway of Weft
#[derive(Debug, Parser)]
#[command(name = "weft-gateway", version)]
struct Arguments {}

/// What this release says to whoever starts it.
const NOT_YET: &str = "error: this release of weft-gateway does not serve NFS yet; mount the filesystem with `weft mount` instead";

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{NOT_YET}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn it_says_in_one_line_what_to_do_instead() {
        Arguments::command().debug_assert();
        assert!(NOT_YET.contains("; mount") && !NOT_YET.contains('\n'));
    }
}
