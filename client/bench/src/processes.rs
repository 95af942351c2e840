//! What the processes of a cluster have used, held together over restarts.

use std::collections::BTreeMap;

use serde::Serialize;

/// One process, as the host tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessUse {
    /// The container that it runs, such as `drive0`.
    pub container: String,
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot: with the id, it names one process.
    pub start_ticks: u64,
    /// User and system time so far, in clock ticks.
    pub cpu_ticks: u64,
    /// The most memory that was resident at once, in bytes.
    pub peak_bytes: u64,
}

/// The most memory that a container's processes had resident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeakMemory {
    /// The container.
    pub container: String,
    /// Bytes.
    pub peak_bytes: u64,
}

/// Sums over processes that come and go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    ticks: BTreeMap<(u32, u64), u64>,
    peaks: BTreeMap<String, u64>,
}

impl Ledger {
    /// Takes note of how things are. To be called before processes are stopped, too: what one has used since the last
    /// note is lost with it.
    pub(crate) fn note(&mut self, processes: &[ProcessUse]) {
        for one in processes {
            self.ticks.insert((one.pid, one.start_ticks), one.cpu_ticks);
            let peak = self.peaks.entry(one.container.clone()).or_default();
            *peak = (*peak).max(one.peak_bytes);
        }
    }

    /// Whether no process was ever noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// Clock ticks of all processes that were ever noted.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        self.ticks.values().sum()
    }

    /// The peaks, by container.
    pub(crate) fn peaks(&self) -> Vec<PeakMemory> {
        let peaks = self.peaks.iter();
        peaks
            .map(|(container, bytes)| PeakMemory { container: container.clone(), peak_bytes: *bytes })
            .collect()
    }
}

/// User and system time in clock ticks, out of the text of `/proc/<pid>/stat`.
pub(crate) fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses and may hold anything, parentheses and spaces too.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Clock ticks in which any CPU of the host was at work, for anybody, out of the text of `/proc/stat`.
pub(crate) fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = fields.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, then idle and waiting for IO, then irq, softirq and steal; guests are in user already.
    let [user, nice, system, _, _, irq, softirq, steal] = *ticks.first_chunk()?;
    Some(user + nice + system + irq + softirq + steal)
}

/// The high-water mark of resident memory in bytes, out of the text of `/proc/<pid>/status`.
pub(crate) fn peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(container: &str, pid: u32, cpu_ticks: u64, peak_bytes: u64) -> ProcessUse {
        ProcessUse { container: container.to_owned(), pid, start_ticks: 5, cpu_ticks, peak_bytes }
    }

    #[test]
    fn a_restart_loses_nothing_that_was_noted() {
        let mut ledger = Ledger::default();
        ledger.note(&[one("drive0", 1, 100, 50), one("frontend0", 2, 10, 70)]);
        assert_eq!(ledger.cpu_ticks(), 110);
        ledger.note(&[one("drive0", 1, 120, 60), one("frontend0", 2, 10, 70)]);
        ledger.note(&[one("drive0", 3, 1, 20)]);
        assert_eq!(ledger.cpu_ticks(), 120 + 10 + 1);
        let peaks: Vec<_> =
            ledger.peaks().into_iter().map(|peak| (peak.container, peak.peak_bytes)).collect();
        assert_eq!(peaks, [("drive0".to_owned(), 60), ("frontend0".to_owned(), 70)]);
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let mut ledger = Ledger::default();
        ledger.note(&[one("drive0", 1, 100, 0)]);
        ledger.note(&[ProcessUse { start_ticks: 6, ..one("drive0", 1, 3, 0) }]);
        assert_eq!(ledger.cpu_ticks(), 103);
    }

    #[test]
    fn the_kernels_texts_are_read() {
        let fields: Vec<_> = (4..=52).map(|field| field.to_string()).collect();
        for command in ["weftd", "a) S 1 b", ""] {
            let stat = format!("77 ({command}) S {}\n", fields.join(" "));
            assert_eq!(cpu_ticks(&stat), Some(14 + 15), "{command}");
        }
        assert_eq!(cpu_ticks("77 (weftd) S 1 2"), None);
        assert_eq!(busy_ticks("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 9\n"), Some(1 + 2 + 3 + 4 + 5 + 6));
        assert_eq!(busy_ticks("cpu 1 2 3\n"), None);
        assert_eq!(peak_bytes("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  1024 kB\n"), Some(1 << 20));
        assert_eq!(peak_bytes("Name:\tkthread\n"), None);
    }
}
