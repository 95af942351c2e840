//! The cluster store on a device that nobody serves: placed where a cluster is formed, read where one is recovered.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use weft_device::{Device, OpenDeviceError, OpenOptions};
use weft_types::{Epoch, NodeId, StoreVersion};
use weft_wire::store::{PutStore, StoreHeld, StoreRefusal};

use crate::custody::{Copying, Custody, Items, LoadError, ReadItemError, run};
use crate::drive::AnyDevice;
use crate::store::{OpenError, Store};
use crate::superblock::{DriveIdentity, Superblock};

/// Why a device does not give or take a copy of the cluster store.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It cannot be opened: a drive that is served is in use.
    #[error(transparent)]
    Device(#[from] OpenDeviceError),
    /// It is not a drive's, or not this drive's.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot say what it promised.
    #[error(transparent)]
    Custody(#[from] LoadError),
    /// It promised otherwise.
    #[error(transparent)]
    Refused(#[from] StoreRefusal),
    /// It cannot be read.
    #[error("the device failed")]
    Read(#[source] ReadItemError),
}

/// What a device has of the cluster store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFound {
    /// Whose the device is.
    pub identity: DriveIdentity,
    /// What it promised, has and saw.
    pub held: StoreHeld,
    /// Its copy; empty when there is none.
    pub bytes: Bytes,
}

/// Places a copy of the cluster store on a formatted device, by the rules that hold for a drive at work: the term is
/// not below what it promised, and the version above what it saw. Durable on return.
///
/// # Errors
/// [`OfflineError`].
pub fn place_store(
    path: &Path,
    identity: DriveIdentity,
    term: Epoch,
    version: StoreVersion,
    bytes: Bytes,
) -> Result<(), OfflineError> {
    let device = weft_device::open(path, &OpenOptions::default())?.device;
    place_on(device, identity, term, version, bytes)
}

/// Reads what a device has, and changes nothing on it.
///
/// # Errors
/// [`OfflineError`].
pub fn read_store(path: &Path) -> Result<StoreFound, OfflineError> {
    read_from(weft_device::open(path, &OpenOptions::default())?.device)
}

fn place_on(
    device: AnyDevice,
    identity: DriveIdentity,
    term: Epoch,
    version: StoreVersion,
    bytes: Bytes,
) -> Result<(), OfflineError> {
    let mut store = Store::open(device, identity)?;
    let mut custody = Custody::load(identity, &store)?.custody;
    let nobody = NodeId::from_bytes([0; 16]);
    run(&mut custody, &mut store, &Copying::new(PutStore { term, version }, bytes), nobody)?;
    Ok(())
}

fn read_from(device: AnyDevice) -> Result<StoreFound, OfflineError> {
    let device = Unchanged(device);
    let (superblock, _) = Superblock::read(&device).map_err(OpenError::from)?;
    let identity = superblock.identity;
    let store = Store::open(device, identity)?;
    let custody = Custody::load(identity, &store)?.custody;
    if !custody.remembers_store() {
        return Err(StoreRefusal::Damaged.into());
    }
    let mut copies = [None, None];
    for (copy, key) in copies.iter_mut().zip(Custody::store_items()) {
        match store.read(&key) {
            Ok(value) => *copy = Some(value),
            Err(ReadItemError::Absent | ReadItemError::Damaged) => {}
            Err(error) => return Err(OfflineError::Read(error)),
        }
    }
    let (held, bytes) = custody.store_held(copies);
    Ok(StoreFound { identity, held, bytes })
}

/// A device that is only read: opening a store finishes what a kill interrupted, and here it stays as it was.
#[derive(Debug)]
struct Unchanged(Arc<dyn Device>);

impl Device for Unchanged {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn block(&self) -> u32 {
        self.0.block()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }

    fn read_at_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at_once(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{IDENTITY, device};

    fn place(device: AnyDevice, term: u64, version: u64, bytes: &'static [u8]) -> Result<(), OfflineError> {
        let (term, version) = (Epoch::new(term), StoreVersion::new(version));
        place_on(device, IDENTITY, term, version, Bytes::from_static(bytes))
    }

    #[test]
    fn a_store_is_placed_and_read_without_a_change() {
        let device = device(16);
        let blank = read_from(device.clone()).expect("read");
        assert_eq!((blank.identity, blank.held.copy, blank.bytes.len()), (IDENTITY, None, 0));
        place(device.clone(), 1, 7, b"sealed").expect("placed");
        let before = device.bytes();
        for _ in 0..2 {
            let found = read_from(device.clone()).expect("read");
            assert_eq!(found.held.copy, Some((Epoch::new(1), StoreVersion::new(7))));
            assert_eq!((found.held.seen, found.held.promised), (StoreVersion::new(7), Epoch::new(1)));
            assert_eq!(found.bytes, "sealed");
        }
        assert!(device.bytes() == before, "only read");
    }

    #[test]
    fn an_older_store_is_not_placed_over_a_newer_one() {
        let device = device(16);
        place(device.clone(), 2, 7, b"seven").expect("placed");
        for (term, version) in [(1, 8), (2, 6), (3, 7)] {
            let refused = place(device.clone(), term, version, b"other");
            assert!(matches!(refused, Err(OfflineError::Refused(_))), "{term} {version}");
        }
        place(device.clone(), 3, 8, b"eight").expect("placed");
        assert_eq!(read_from(device).expect("read").bytes, "eight");
    }

    #[test]
    fn a_device_that_cannot_say_what_it_promised_is_no_voter() {
        let device = device(16);
        place(device.clone(), 1, 7, b"the only copy of its kind").expect("placed");
        // Damage in what was written last, and nothing vouches for, counts as a write that power cut short.
        Store::open(device.clone(), IDENTITY).expect("opens").vouch().expect("vouched for");
        let bytes = device.bytes();
        let found = bytes.windows(25).enumerate().filter(|(_, run)| *run == b"the only copy of its kind");
        let places: Vec<_> = found.map(|(place, _)| place).collect();
        assert_eq!(places.len(), 2, "two copies");
        device.damage(places[0], |bytes| bytes[0] ^= 1, 1);
        assert_eq!(read_from(device.clone()).expect("the other one").bytes, "the only copy of its kind");
        device.damage(places[1], |bytes| bytes[0] ^= 1, 1);
        let refused = read_from(device).expect_err("nothing is known of it");
        assert!(matches!(refused, OfflineError::Refused(StoreRefusal::Damaged)), "{refused:?}");
    }

    #[test]
    fn another_drives_device_takes_nothing() {
        let device = device(16);
        let other = DriveIdentity { incarnation: IDENTITY.incarnation.next(), ..IDENTITY };
        let refused = place_on(device, other, Epoch::new(1), StoreVersion::new(1), Bytes::from_static(b"x"));
        assert!(matches!(refused, Err(OfflineError::Open(OpenError::OtherIncarnation { .. }))));
        let missing = read_store(Path::new("/nonexistent/device"));
        assert!(matches!(missing, Err(OfflineError::Device(_))));
    }
}
