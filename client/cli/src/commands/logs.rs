//! `weft logs`

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use weft_resources::ContainerName;

use crate::arguments::LogsArguments;
use crate::cluster::Cluster;
use crate::error::CommandError;
use crate::output;

/// How often a log is looked at for more.
const INTERVAL: Duration = Duration::from_millis(200);
/// How much of a log is read at once, at most.
const CHUNK_BYTES: u64 = 1 << 20;

/// Why a log was not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The log.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// A log that is followed.
struct Log {
    name: ContainerName,
    path: PathBuf,
    shown: u64,
}

/// Shows the ends of logs, and with `follow` what comes after them.
///
/// # Errors
/// [`CommandError`] when there is no such container, or a log cannot be read.
pub(crate) fn run(cluster: &Cluster, options: &LogsArguments, json: bool) -> Result<(), CommandError> {
    let names = match &options.name {
        Some(name) => {
            cluster.known(name)?;
            vec![name.clone()]
        }
        None => cluster.container_names(),
    };
    let with_names = names.len() > 1;
    let mut logs = Vec::new();
    for name in names {
        let path = cluster.dir.log_file(&name);
        let (lines, shown) = end_of(&path, options.lines)?;
        print(&name, &lines, with_names, json)?;
        logs.push(Log { name, path, shown });
    }
    if options.follow { follow(logs, with_names, json) } else { Ok(()) }
}

/// Shows what comes, until a signal ends the program or the reader goes away.
fn follow(mut logs: Vec<Log>, with_names: bool, json: bool) -> Result<(), CommandError> {
    loop {
        std::thread::sleep(INTERVAL);
        for log in &mut logs {
            let lines = log.news()?;
            print(&log.name, &lines, with_names, json)?;
        }
    }
}

fn print(name: &ContainerName, lines: &[String], with_name: bool, json: bool) -> Result<(), CommandError> {
    for line in lines {
        if json {
            output::line(serde_json::json!({ "container": name.as_str(), "line": line }))?;
        } else if with_name {
            output::line(format_args!("{name:10} {line}"))?;
        } else {
            output::line(line)?;
        }
    }
    Ok(())
}

/// The last lines of a file, and where they end. A file that is not there has none.
fn end_of(path: &Path, count: usize) -> Result<(Vec<String>, u64), LogsError> {
    let Some(chunk) = read_from(path, |len| len.saturating_sub(CHUNK_BYTES))? else {
        return Ok((Vec::new(), 0));
    };
    let lines = lines(&chunk.bytes);
    let first = lines.len().saturating_sub(count);
    Ok((lines[first..].to_vec(), chunk.start + chunk.bytes.len() as u64))
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

impl Log {
    /// Whole lines that came since. A log that became shorter was begun again.
    fn news(&mut self) -> Result<Vec<String>, LogsError> {
        let shown = self.shown;
        let start = |len| if len < shown { 0 } else { shown };
        let Some(Chunk { bytes, start }) = read_from(&self.path, start)? else {
            return Ok(Vec::new());
        };
        let full = bytes.len() as u64 == CHUNK_BYTES;
        let end_of_line = bytes.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        let whole = end_of_line.unwrap_or(if full { bytes.len() } else { 0 });
        self.shown = start + whole as u64;
        Ok(lines(&bytes[..whole]))
    }
}

/// Part of a file.
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

/// A chunk from a place on that depends on the file's length.
fn read_from(path: &Path, start: impl Fn(u64) -> u64) -> Result<Option<Chunk>, LogsError> {
    let failed = |source| LogsError::Read { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let len = file.metadata().map_err(failed)?.len();
    let start = file.seek(SeekFrom::Start(start(len))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(CHUNK_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(Chunk { start, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_and_then_what_follows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        assert_eq!(end_of(&path, 5).expect("no error"), (Vec::new(), 0));
        std::fs::write(&path, "one\ntwo\nthree\n").expect("write");
        let (lines, shown) = end_of(&path, 2).expect("read");
        assert_eq!((lines, shown), (vec!["two".to_owned(), "three".to_owned()], 14));
        let mut log = Log { name: ContainerName::drive(0), path: path.clone(), shown };
        assert!(log.news().expect("read").is_empty());
        std::fs::write(&path, "one\ntwo\nthree\nfour\nhalf").expect("write");
        assert_eq!(log.news().expect("read"), ["four"]);
        std::fs::write(&path, "one\ntwo\nthree\nfour\nhalf a line\n").expect("write");
        assert_eq!(log.news().expect("read"), ["half a line"]);
    }
}
