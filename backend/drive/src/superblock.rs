//! What a device says about itself: whose it is, and which format it has.
//!
//! Copies stand in blocks 0, 1, 7 and in the last block, so that no regular pattern of damage takes them all.
//! Every format keeps the magic, the format number and the checksum where they are.

use weft_types::{ClusterId, DriveId, Incarnation};

use weft_device::{AlignedBuf, Device};

/// Bytes of one copy.
pub(crate) const SUPERBLOCK_BYTES: u64 = 4096;
/// The format that this code writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"WEFTDRV\n";
const COPIES_IN_FRONT: [u64; 3] = [0, 1, 7];
const CHECKSUM_AT: usize = SUPERBLOCK_BYTES as usize - 32;
/// Bytes in use before the checksum.
const FIELDS_END: usize = 8 + 4 + 16 + 16 + 8 + 8 + 8 + 32;

/// Random bytes under which a drive authenticates its own record headers, so that no payload can pass for one.
/// Not a secret from whoever holds the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderSalt(pub [u8; 32]);

impl std::fmt::Debug for HeaderSalt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeaderSalt(..)")
    }
}

/// Whose a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The drive.
    pub drive: DriveId,
    /// Which formatting of that drive.
    pub incarnation: Incarnation,
}

/// One device's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) identity: DriveIdentity,
    /// Bytes of the device when it was formatted.
    pub(crate) size: u64,
    /// Bytes of each segment.
    pub(crate) segment_bytes: u64,
    pub(crate) salt: HeaderSalt,
}

/// Why no superblock could be read.
#[derive(Debug, thiserror::Error)]
pub enum SuperblockError {
    /// Nothing on the device looks like one.
    #[error("not a weft device")]
    NotWeft,
    /// There are traces of one, and no copy is intact.
    #[error("every copy of the superblock is damaged")]
    Damaged,
    /// Written by another version.
    #[error("the device has format {found}; this version reads format {FORMAT_VERSION}")]
    NewerFormat {
        /// The device's format.
        found: u32,
    },
    /// The device failed.
    #[error("cannot read the superblock")]
    Io(#[source] std::io::Error),
}

/// One place where a copy should be.
enum Copy {
    Intact(Superblock),
    Newer(u32),
    Damaged,
    /// No magic.
    Foreign,
}

fn places(size: u64) -> impl Iterator<Item = u64> {
    let last = (size / SUPERBLOCK_BYTES).saturating_sub(1);
    COPIES_IN_FRONT.into_iter().filter(move |block| *block < last).chain([last]).map(|b| b * SUPERBLOCK_BYTES)
}

/// Bytes before the first segment.
pub(crate) const FRONT_BYTES: u64 = 8 * SUPERBLOCK_BYTES;

impl Superblock {
    /// Reads the first intact copy; also says how many copies are damaged. Repairs nothing.
    pub(crate) fn read(device: &impl Device) -> Result<(Self, u32), SuperblockError> {
        let (mut found, mut newer, mut damaged, mut foreign) = (None, None, 0, 0);
        let size = device.size();
        if size < SUPERBLOCK_BYTES {
            return Err(SuperblockError::NotWeft);
        }
        for place in places(size) {
            let mut block = [0; SUPERBLOCK_BYTES as usize];
            device.read_at(&mut block, place).map_err(SuperblockError::Io)?;
            match Self::decode(&block) {
                Copy::Intact(superblock) => found = found.or(Some(superblock)),
                Copy::Newer(version) => newer = newer.or(Some(version)),
                Copy::Damaged => damaged += 1,
                Copy::Foreign => foreign += 1,
            }
        }
        match (found, newer) {
            (_, Some(found)) => Err(SuperblockError::NewerFormat { found }),
            // A device that has grown has no copy in its last block.
            (Some(superblock), _) if superblock.size != size => Ok((superblock, damaged)),
            (Some(superblock), _) => Ok((superblock, damaged + foreign)),
            (None, None) if damaged > 0 => Err(SuperblockError::Damaged),
            (None, None) => Err(SuperblockError::NotWeft),
        }
    }

    /// Writes all copies. Durable after the device's next flush.
    pub(crate) fn write(&self, device: &impl Device) -> std::io::Result<()> {
        let mut block = AlignedBuf::with_capacity(SUPERBLOCK_BYTES as usize);
        block.extend(&self.encode());
        places(device.size()).try_for_each(|place| device.write_at(block.as_slice(), place))
    }

    fn encode(&self) -> [u8; SUPERBLOCK_BYTES as usize] {
        let mut fields = Vec::with_capacity(FIELDS_END);
        fields.extend(MAGIC);
        fields.extend(FORMAT_VERSION.to_le_bytes());
        fields.extend(self.identity.cluster.to_bytes());
        fields.extend(self.identity.drive.to_bytes());
        fields.extend(self.identity.incarnation.get().to_le_bytes());
        fields.extend(self.size.to_le_bytes());
        fields.extend(self.segment_bytes.to_le_bytes());
        fields.extend(self.salt.0);
        let mut block = [0; SUPERBLOCK_BYTES as usize];
        block[..FIELDS_END].copy_from_slice(&fields);
        let checksum = blake3::hash(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        block
    }

    fn decode(block: &[u8; SUPERBLOCK_BYTES as usize]) -> Copy {
        if !block.starts_with(&MAGIC) {
            return Copy::Foreign;
        }
        if blake3::hash(&block[..CHECKSUM_AT]).as_bytes() != &block[CHECKSUM_AT..] {
            return Copy::Damaged;
        }
        let mut fields = Fields(&block[MAGIC.len()..]);
        let version = u32::from_le_bytes(fields.take());
        if version != FORMAT_VERSION {
            return Copy::Newer(version);
        }
        Copy::Intact(Self {
            identity: DriveIdentity {
                cluster: ClusterId::from_bytes(fields.take()),
                drive: DriveId::from_bytes(fields.take()),
                incarnation: Incarnation::new(u64::from_le_bytes(fields.take())),
            },
            size: u64::from_le_bytes(fields.take()),
            segment_bytes: u64::from_le_bytes(fields.take()),
            salt: HeaderSalt(fields.take()),
        })
    }
}

/// Fixed fields one after the other.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes. The caller's buffer has a constant length that holds all its fields.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("fixed layout");
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_device::MemoryDevice;

    fn sample(size: u64) -> Superblock {
        Superblock {
            identity: DriveIdentity {
                cluster: ClusterId::from_bytes([1; 16]),
                drive: DriveId::from_bytes([2; 16]),
                incarnation: Incarnation::new(3),
            },
            size,
            segment_bytes: 1 << 16,
            salt: HeaderSalt([4; 32]),
        }
    }

    #[test]
    fn any_one_copy_is_enough_and_the_others_are_counted() {
        for kept in [0_usize, 1, 7, 15] {
            let device = MemoryDevice::new(16 * 4096);
            let superblock = sample(device.size());
            superblock.write(&device).expect("written");
            for other in [0_usize, 1, 7, 15].into_iter().filter(|block| *block != kept) {
                device.damage(other * 4096 + 100, |bytes| bytes[0] ^= 1, 1);
            }
            let (read, damaged) = Superblock::read(&device).expect("one copy left");
            assert_eq!((read, damaged), (superblock, 3));
        }
    }

    #[test]
    fn what_is_no_superblock_is_told_from_a_damaged_and_a_newer_one() {
        let device = MemoryDevice::new(16 * 4096);
        assert!(matches!(Superblock::read(&device), Err(SuperblockError::NotWeft)));
        assert!(matches!(Superblock::read(&MemoryDevice::new(0)), Err(SuperblockError::NotWeft)));

        sample(device.size()).write(&device).expect("written");
        for block in 0..16 {
            device.damage(block * 4096 + 200, |bytes| bytes[0] ^= 1, 1);
        }
        assert!(matches!(Superblock::read(&device), Err(SuperblockError::Damaged)));

        let mut newer = sample(device.size()).encode();
        newer[8] = 9;
        let checksum = blake3::hash(&newer[..CHECKSUM_AT]);
        newer[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        device.write_at(&newer, 4096).expect("written");
        assert!(matches!(Superblock::read(&device), Err(SuperblockError::NewerFormat { found: 9 })));
    }
}
