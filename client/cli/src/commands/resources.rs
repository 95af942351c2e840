//! `weft resources`: what an installation puts beside the programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::{Arguments, ResourcesCommand};

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResourcesError {
    /// The host does not take it.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Writes completions or man pages.
///
/// # Errors
/// [`ResourcesError`]
pub(crate) fn run(command: &ResourcesCommand) -> Result<(), ResourcesError> {
    match command {
        ResourcesCommand::Completions { to } => completions(to),
        ResourcesCommand::Man { to } => man(to),
    }
}

/// Where each shell looks for the completions of `weft`, below a `share` folder.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/weft"),
    (Shell::Zsh, "zsh/site-functions/_weft"),
    (Shell::Fish, "fish/vendor_completions.d/weft.fish"),
];

fn completions(share: &Path) -> Result<(), ResourcesError> {
    for (shell, place) in COMPLETIONS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut visible(), "weft", &mut text);
        write(&share.join(place), &text)?;
    }
    Ok(())
}

/// The command line without what people do not type.
fn visible() -> clap::Command {
    let whole = Arguments::command();
    let shown: Vec<_> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut visible =
        clap::Command::new("weft").version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    if let Some(about) = whole.get_about() {
        visible = visible.about(about.clone());
    }
    visible.args(whole.get_arguments().cloned()).subcommands(shown)
}

/// One page for the command, and one for each below it: `weft.1`, `weft-fs.1`, `weft-fs-create.1`.
fn man(folder: &Path) -> Result<(), ResourcesError> {
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(visible(), folder));
    written.map_err(|source| ResourcesError::Write { path: folder.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ResourcesError> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(path, bytes));
    written.map_err(|source| ResourcesError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_pages_are_where_they_are_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        run(&ResourcesCommand::Completions { to: folder.path().join("share") }).expect("written");
        for (shell, place) in COMPLETIONS {
            let text = fs::read_to_string(folder.path().join("share").join(place)).expect("it is there");
            assert!(text.contains("umount") && text.contains("protection"), "{shell}");
            assert!(!text.contains("detached"), "{shell} offers what people do not type");
        }
        let man = folder.path().join("man1");
        run(&ResourcesCommand::Man { to: man.clone() }).expect("written");
        for (page, word) in [("weft.1", "umount"), ("weft-up.1", "drive"), ("weft-fs-create.1", "keys")] {
            let text = fs::read_to_string(man.join(page)).expect(page);
            assert!(text.contains(word), "{page}: {text}");
        }
        let mut pages = fs::read_dir(&man).expect("listed").flatten();
        assert!(pages.all(|page| page.file_name().to_string_lossy().starts_with("weft")));
        assert!(!man.join("weft-frontend.1").exists());
    }
}
