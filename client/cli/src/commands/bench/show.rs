//! A report for people.

use weft_bench::{Report, Row, table};

use crate::output::{self, OutputError};

/// Prints the figures, the ceilings and the memory.
///
/// # Errors
/// [`OutputError`]
pub(super) fn show(report: &Report) -> Result<(), OutputError> {
    output::line(table::headline(report))?;
    output::line("")?;
    output::table(table::WORKLOADS, report.workloads.iter().map(Row::cells).collect(), "nothing measured")?;
    for line in table::remarks(report) {
        output::line(line)?;
    }
    if !report.ceilings.is_empty() {
        output::line("")?;
        output::table(table::CEILINGS, table::ceilings(report), "")?;
    }
    if !report.memory.is_empty() {
        output::line("")?;
        output::table(table::MEMORY, table::memory(report), "")?;
    }
    Ok(())
}
