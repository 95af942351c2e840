//! A report as rows of text.

use std::collections::BTreeSet;

use weft_types::ByteCount;

use crate::report::{Report, Row};
use crate::workload::Unit;

/// Over the columns of [`Row::cells`].
pub const WORKLOADS: [&str; 10] = [
    "WORKLOAD",
    "MEDIAN",
    "MIN TO MAX",
    "P50 US",
    "P99 US",
    "WEFT CPU S",
    "PER CPU S",
    "BENCH CPU S",
    "CEILING",
    "",
];
/// Over the columns of [`ceilings`].
pub const CEILINGS: [&str; 2] = ["CEILING", "FIGURE"];
/// Over the columns of [`memory`].
pub const MEMORY: [&str; 2] = ["CONTAINER", "PEAK MEMORY"];

impl Row {
    /// The cells of its line.
    pub fn cells(&self) -> [String; 10] {
        let unit = self.unit;
        let amount = match self.workload.unit() {
            Unit::Megabytes => " MB",
            Unit::Operations => "",
        };
        let latency = self.runs.get(self.rate.median_run).and_then(|run| run.latency_us);
        let dash = || "-".to_owned();
        let bound = self.bounds.first();
        [
            self.workload.to_string(),
            format!("{}{}{unit}", figure(self.rate.median), if unit.starts_with('/') { "" } else { " " }),
            format!("{} to {}", figure(self.rate.min), figure(self.rate.max)),
            latency.map_or_else(dash, |latency| figure(latency.p50)),
            latency.map_or_else(dash, |latency| figure(latency.p99)),
            self.cluster_cpu_seconds.map_or_else(dash, |used| format!("{used:.2}")),
            self.per_cpu_second.map_or_else(dash, |per| format!("{}{amount}", figure(per))),
            format!("{:.2}", self.bench_cpu_seconds),
            bound.map_or_else(dash, |bound| {
                format!("{:.0} % of {}: {}", bound.ratio * 100.0, figure(bound.rate), bound.name)
            }),
            self.note(),
        ]
    }

    /// What must be known to read the figure.
    fn note(&self) -> String {
        let warmth = self.warmth.as_ref().map(|warmth| warmth.word());
        let pages = (self.direct == Some(false)).then_some("through the page cache");
        warmth.into_iter().chain(pages).collect::<Vec<_>>().join(", ")
    }
}

/// Where, on what, and how much.
pub fn headline(report: &Report) -> String {
    let (machine, parameters) = (&report.machine, &report.parameters);
    let small = if parameters.small { "; SMALL: the figures say nothing" } else { "" };
    let cluster = report.cluster.as_ref().map_or_else(String::new, |cluster| {
        format!("; {} drives on {}, {}", cluster.drives, cluster.drives_filesystem, cluster.protection)
    });
    format!(
        "{} ({}){cluster}; {} cores of {}, Linux {}; {} and {} files, median of {} runs, seed {}{small}",
        report.path.display(),
        machine.filesystem,
        machine.cores,
        if machine.cpu.is_empty() { "an unnamed CPU" } else { &machine.cpu },
        machine.kernel,
        parameters.size,
        parameters.files,
        parameters.runs,
        parameters.seed,
    )
}

/// What is to be said of several rows.
pub fn remarks(report: &Report) -> Vec<String> {
    let warmths = report.workloads.iter().filter_map(|row| row.warmth.as_ref());
    let reasons: BTreeSet<_> = warmths.filter_map(|warmth| warmth.why.as_deref()).collect();
    reasons.into_iter().map(|why| format!("not cold: {why}")).collect()
}

/// The ceilings by themselves.
pub fn ceilings(report: &Report) -> Vec<[String; 2]> {
    let rows = report.ceilings.iter();
    rows.map(|ceiling| [ceiling.name.clone(), format!("{} {}", figure(ceiling.rate), ceiling.unit)]).collect()
}

/// The most memory of each container.
pub fn memory(report: &Report) -> Vec<[String; 2]> {
    let rows = report.memory.iter();
    rows.map(|row| [row.container.clone(), ByteCount::new(row.peak_bytes).to_string()]).collect()
}

/// A number as people read it: three digits, or all of those before the point, in groups.
fn figure(value: f64) -> String {
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, _)| (whole, &text[whole.len()..]));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_matter() {
        let rows = [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (45.67, "45.7"),
            (678.9, "679"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in rows {
            assert_eq!(figure(value), text);
        }
    }
}
