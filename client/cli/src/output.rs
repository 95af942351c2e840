//! Standard output: tables for people, JSON for scripts. A reader that goes away ends the program quietly.

use std::fmt::Display;
use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
pub(crate) struct OutputError(#[source] io::Error);

/// Prints one line.
///
/// # Errors
/// [`OutputError`]; a closed pipe is the end of the program instead: whoever read has seen enough.
pub(crate) fn line(text: impl Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(OutputError),
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), OutputError> {
    line(serde_json::to_string_pretty(value).expect("output has text keys"))
}

/// Prints columns under their names; `nothing` when there are no rows.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: Vec<[String; N]>,
    nothing: &str,
) -> Result<(), OutputError> {
    if rows.is_empty() { line(nothing) } else { line(columns(header, rows)) }
}

fn columns<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names() {
        let rows = vec![["drive0".to_owned(), "up".to_owned()], ["d".to_owned(), "down".to_owned()]];
        assert_eq!(columns(["NAME", "STATE"], rows), "NAME    STATE\ndrive0  up\nd       down");
    }
}
