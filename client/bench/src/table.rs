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
    let cold = reasons.into_iter().map(|why| format!("not cold: {why}"));
    let others = share_of_others(report);
    let crowded = (others > CROWDED).then(|| {
        format!(
            "others took {:.0} % of this host's CPUs meanwhile: rates and ceilings are lower bounds, and those per CPU \
             second tell more",
            others * 100.0
        )
    });
    cold.chain(crowded).collect()
}

/// The part of the CPUs that others may take before it must be said.
const CROWDED: f64 = 0.1;

/// Which part of the host's CPUs others took while it was measured.
#[expect(clippy::cast_precision_loss, reason = "there are not so many cores")]
fn share_of_others(report: &Report) -> f64 {
    let runs = || report.workloads.iter().flat_map(|row| &row.runs);
    let there: f64 = runs().map(|run| run.seconds).sum::<f64>() * report.machine.cores as f64;
    runs().map(|run| run.other_cpu_seconds).sum::<f64>() / there.max(1e-9)
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
    use crate::ceilings::{Bound, Ceiling};
    use crate::ground::{Pages, Warmth};
    use crate::machine::Machine;
    use crate::parameters::Parameters;
    use crate::processes::PeakMemory;
    use crate::report::Run;
    use crate::statistics::Latency;
    use crate::workload::{Depth, Workload};

    fn report(other_cpu_seconds: f64, why: Option<&str>) -> Report {
        let warmth = Warmth { restarted: why.is_none(), pages: Pages::All, why: why.map(str::to_owned) };
        let run = Run {
            rate: 1234.0,
            seconds: 2.0,
            operations: 2468,
            bytes: 0,
            latency_us: Some(Latency { p50: 700.0, p99: 2500.0, max: 9000.0 }),
            cluster_cpu_seconds_within: Some(1.0),
            cluster_cpu_seconds: Some(1.5),
            bench_cpu_seconds: 0.25,
            other_cpu_seconds,
            warmth: Some(warmth),
            direct: Some(false),
        };
        let mut row = Row::of(Workload::RandRead(Depth::One), vec![run]).expect("a run");
        row.bounds = vec![Bound { name: "QUIC", rate: 2468.0, ratio: 0.5 }];
        Report {
            path: "/mnt".into(),
            machine: Machine { cores: 2, ..Machine::here("fuse".to_owned()) },
            parameters: Parameters::small(7),
            cluster: None,
            workloads: vec![row],
            ceilings: vec![Ceiling { name: "QUIC".to_owned(), rate: 2468.0, unit: "/s" }],
            memory: vec![PeakMemory { container: "drive0".to_owned(), peak_bytes: 1 << 20 }],
            cluster_cpu_seconds: 9.0,
        }
    }

    #[test]
    fn a_row_is_read_without_a_legend() {
        let report = report(0.0, None);
        let cells = report.workloads[0].cells();
        let expected = [
            "rand-read-d1",
            "1,234/s",
            "1,234 to 1,234",
            "700",
            "2,500",
            "1.50",
            "1,645",
            "0.25",
            "50 % of 2,468: QUIC",
            "cold, through the page cache",
        ];
        assert_eq!(cells, expected.map(str::to_owned));
        assert_eq!(ceilings(&report), [["QUIC".to_owned(), "2,468 /s".to_owned()]]);
        assert_eq!(memory(&report), [["drive0".to_owned(), "1.00 MiB".to_owned()]]);
        assert!(headline(&report).contains("SMALL") && headline(&report).contains("seed 7"));
    }

    #[test]
    fn what_makes_figures_doubtful_is_said() {
        assert_eq!(remarks(&report(0.3, None)), Vec::<String>::new());
        let lines = remarks(&report(1.0, Some("others use it")));
        assert!(
            lines.len() == 2 && lines[0].contains("others use it") && lines[1].contains("25 %"),
            "{lines:?}"
        );
    }

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
