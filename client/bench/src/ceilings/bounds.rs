//! Which ceilings hold for which workload.

use std::collections::BTreeMap;

use weft_layout::Protection;

use super::device::Device;
use super::quic::Quic;
use super::{Bound, Ceiling, WIDTHS};
use crate::parameters::FILE;
use crate::workload::{Unit, Workload};

/// All that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// CPUs.
    pub(crate) cores: usize,
    /// How the cluster codes; nothing where there is none.
    pub(crate) protection: Option<Protection>,
    /// MB/s of one core sealing blocks of 4 KiB.
    pub(crate) seal: f64,
    /// MB/s of one core opening them.
    pub(crate) open: f64,
    /// MB/s of data of one core computing parity.
    pub(crate) encode: Option<f64>,
    /// The transport.
    pub(crate) quic: Quic,
    /// Where the drives lie; where the files lie, where there are no drives.
    pub(crate) device: Device,
    /// The same workloads on a filesystem that only copies from and to memory.
    pub(crate) fuse: BTreeMap<Workload, f64>,
}

impl Known {
    /// As rows.
    pub(crate) fn list(&self) -> Vec<Ceiling> {
        let one = |name: String, rate, unit| Ceiling { name, rate, unit };
        let (mb, each) = (Unit::Megabytes.word(), Unit::Operations.word());
        let mut list = vec![
            one("AES-256-GCM, seal 4 KiB, one core".to_owned(), self.seal, mb),
            one("AES-256-GCM, open 4 KiB, one core".to_owned(), self.open, mb),
        ];
        if let (Some(rate), Some(code)) = (self.encode, self.protection) {
            list.push(one(format!("erasure code {code}, encode, one core, data"), rate, mb));
        }
        let Quic { mtu, get, put, calls } = &self.quic;
        list.push(one(format!("QUIC, 1 MiB from a server, datagrams of {mtu}"), *get, mb));
        list.push(one(format!("QUIC, 1 MiB to a server, datagrams of {mtu}"), *put, mb));
        for (width, rate) in WIDTHS.iter().zip(calls) {
            list.push(one(format!("QUIC, call answered by 4 KiB, {width} at once"), *rate, each));
        }
        let how = if self.device.direct { "O_DIRECT" } else { "through the page cache" };
        list.push(one(format!("device, sequential write, {how}"), self.device.write, mb));
        list.push(one(format!("device, sequential read, {how}"), self.device.read, mb));
        for (width, rate) in WIDTHS.iter().zip(self.device.reads) {
            list.push(one(format!("device, random read 4 KiB, {how}, {width} at once"), rate, each));
        }
        for (width, rate) in WIDTHS.iter().zip(self.device.syncs) {
            list.push(one(format!("device, write 4 KiB and fdatasync, {how}, {width} at once"), rate, each));
        }
        let fuse = self.fuse.iter();
        list.extend(
            fuse.map(|(workload, rate)| one(format!("raw FUSE, {workload}"), *rate, workload.unit().word())),
        );
        list
    }
}

/// The ceilings of a workload that came to `median`, the lowest first: what it could reach if only this one thing cost
/// anything. A ceiling is what no design gets around: one round trip and one flush where something must be durable
/// elsewhere, each byte sealed, coded, sent and written once for every shard.
///
/// What is served from the memory of processes that were not restarted goes neither over the network nor to a device.
pub(crate) fn bounds(known: &Known, workload: Workload, median: f64, from_memory: bool) -> Vec<Bound> {
    let mut rates = match known.protection {
        _ if from_memory => Vec::new(),
        Some(_) => of_cluster(known, workload),
        None => of_device(known, workload),
    };
    if known.protection.is_some() {
        rates.extend(known.fuse.get(&workload).map(|rate| ("raw FUSE", *rate)));
    }
    rates.sort_by(|a, b| a.1.total_cmp(&b.1));
    let bound = |(name, rate): (&'static str, f64)| Bound { name, rate, ratio: median / rate.max(1e-9) };
    rates.into_iter().map(bound).collect()
}

/// What a cluster does, at least.
fn of_cluster(known: &Known, workload: Workload) -> Vec<(&'static str, f64)> {
    let Known { protection, quic, device, .. } = known;
    let (data, parity) =
        protection.map_or((1.0, 0.0), |code| (f64::from(code.data()), f64::from(code.parity())));
    // What is stored of a byte: of a stripe its part of parity, of a single block every copy.
    let (striped, copies) = ((data + parity) / data, parity + 1.0);
    let at = WIDTHS.iter().position(|width| *width == workload.width()).unwrap_or_default();
    let cores = known.cores.min(workload.width().max(2)) as f64;
    let calls = ("QUIC round trip", quic.calls[at]);
    let flush = ("device flush", device.syncs[at]);
    match workload {
        Workload::SeqWrite => {
            let code = known.encode.map(|rate| ("erasure code", rate * cores));
            let rest = [
                ("AES", known.seal * cores),
                ("QUIC", quic.put / striped),
                ("device write", device.write / striped),
            ];
            code.into_iter().chain(rest).collect()
        }
        Workload::SeqRead => {
            vec![("AES", known.open * cores), ("QUIC", quic.get), ("device read", device.read)]
        }
        Workload::RandRead(_) => {
            vec![("AES", files(known.open) * cores), calls, ("device read", device.reads[at])]
        }
        Workload::RandWrite(_) => vec![
            ("AES", files(known.seal) * cores),
            ("QUIC", files(quic.put) / copies),
            ("device write", files(device.write) / copies),
        ],
        Workload::SyncWrite(_) | Workload::Create(_) | Workload::Rename(_) | Workload::Unlink(_) => {
            vec![calls, flush]
        }
        Workload::Stat(_) | Workload::Lock(_) => vec![calls],
        Workload::OpenRead(_) => vec![calls, ("device read", device.reads[at])],
        // One answer holds as many names as one likes.
        Workload::ReadDir(_) => Vec::new(),
    }
}

/// What any filesystem does, at least.
fn of_device(known: &Known, workload: Workload) -> Vec<(&'static str, f64)> {
    let device = &known.device;
    let at = WIDTHS.iter().position(|width| *width == workload.width()).unwrap_or_default();
    match workload {
        Workload::SeqWrite => vec![("device write", device.write)],
        Workload::SeqRead => vec![("device read", device.read)],
        Workload::RandRead(_) => vec![("device read", device.reads[at])],
        Workload::RandWrite(_) => vec![("device write", files(device.write))],
        Workload::SyncWrite(_) => vec![("device flush", device.syncs[at])],
        _ => Vec::new(),
    }
}

/// Pieces of 4 KiB per second in a rate of MB/s.
const fn files(megabytes: f64) -> f64 {
    megabytes * 1e6 / FILE as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Depth, Threads};

    fn known(protection: Option<&str>) -> Known {
        Known {
            cores: 2,
            protection: protection.map(|code| code.parse().expect("a code")),
            seal: 10_000.0,
            open: 11_000.0,
            encode: Some(9_000.0),
            quic: Quic { mtu: 65_507, get: 1_800.0, put: 1_500.0, calls: [20_000.0, 50_000.0, 100_000.0] },
            device: Device {
                direct: true,
                write: 1_200.0,
                read: 2_000.0,
                reads: [9_000.0, 20_000.0, 60_000.0],
                syncs: [3_000.0, 5_000.0, 8_000.0],
            },
            fuse: BTreeMap::from([(Workload::SeqRead, 4_000.0), (Workload::Stat(Threads::One), 15_000.0)]),
        }
    }

    fn lowest(known: &Known, workload: Workload) -> (&'static str, f64) {
        let bounds = bounds(known, workload, 100.0, false);
        assert!(bounds.windows(2).all(|pair| pair[0].rate <= pair[1].rate), "{workload}");
        let first = &bounds[0];
        assert!((first.ratio - 100.0 / first.rate).abs() < 1e-9);
        (first.name, first.rate)
    }

    #[test]
    fn the_lowest_ceiling_binds() {
        let known = known(Some("4+2"));
        assert_eq!(lowest(&known, Workload::SeqRead), ("QUIC", 1_800.0));
        // Six shards of a quarter each.
        assert_eq!(lowest(&known, Workload::SeqWrite), ("device write", 800.0));
        assert_eq!(lowest(&known, Workload::RandRead(Depth::One)), ("device read", 9_000.0));
        assert_eq!(lowest(&known, Workload::RandRead(Depth::Sixteen)), ("device read", 60_000.0));
        assert_eq!(lowest(&known, Workload::Stat(Threads::One)), ("raw FUSE", 15_000.0));
        assert_eq!(lowest(&known, Workload::Create(Threads::Four)), ("device flush", 5_000.0));
        assert!(bounds(&known, Workload::ReadDir(Threads::One), 1.0, false).is_empty());
    }

    #[test]
    fn what_comes_from_memory_is_bound_by_the_kernels_interface_alone() {
        let bounds = bounds(&known(Some("4+2")), Workload::SeqRead, 1.0, true);
        assert_eq!(bounds.iter().map(|bound| bound.name).collect::<Vec<_>>(), ["raw FUSE"]);
    }

    #[test]
    fn a_plain_directory_is_bound_by_its_device_alone() {
        let known = known(None);
        for workload in Workload::ALL {
            assert!(
                bounds(&known, workload, 1.0, false).iter().all(|bound| bound.name.starts_with("device")),
                "{workload}"
            );
        }
        assert_eq!(lowest(&known, Workload::SeqWrite), ("device write", 1_200.0));
    }

    #[test]
    fn every_width_was_measured() {
        for workload in Workload::ALL {
            assert!(WIDTHS.contains(&workload.width()), "{workload}");
        }
        let names: Vec<_> = known(Some("4+2")).list().into_iter().map(|ceiling| ceiling.name).collect();
        assert!(names.iter().any(|name| name.contains("4+2")), "{names:?}");
        assert_eq!(names.len(), 2 + 1 + 2 + 3 + 2 + 3 + 3 + 2);
    }
}
