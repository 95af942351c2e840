//! Access lists as POSIX.1e draft 17 and Linux have them: what they say of a mode, and how they are written down.
//!
//! Whether an access is allowed is not decided here: the kernel of the mount does that.

use weft_wire::meta::MetaError;

/// The version of the representation, the only one there is (Linux `POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Bytes of the version.
const HEADER: usize = 4;
/// Bytes of an entry: tag and permissions of 16 bits, an id of 32, all little-endian.
const ENTRY: usize = 8;
/// The id of an entry that has none.
const NO_ID: u32 = u32::MAX;
/// Read, write, execute.
const PERMISSIONS: u16 = 0o7;

/// Whom an entry is about. The numbers are those of the representation; entries come in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    /// The most that users and groups may have, the owning group among them.
    Mask = 0x10,
    Other = 0x20,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    permissions: u16,
    id: u32,
}

/// An access list: one owner, owning group and others each; a mask when there are named users or groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the representation that extended attributes have; `None` is a list without entries, which is none.
    ///
    /// # Errors
    /// [`MetaError::Invalid`] for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, MetaError> {
        let (version, entries) = bytes.split_at_checked(HEADER).ok_or(MetaError::Invalid)?;
        if version != VERSION.to_le_bytes() || entries.len() % ENTRY != 0 {
            return Err(MetaError::Invalid);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let entries = entries.chunks_exact(ENTRY).map(Entry::decode).collect::<Result<Vec<_>, _>>()?;
        let list = Self(entries);
        if list.is_valid() { Ok(Some(list)) } else { Err(MetaError::Invalid) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let entries = self.0.iter().flat_map(|entry| {
            let [t0, t1] = (entry.tag as u16).to_le_bytes();
            let [p0, p1] = entry.permissions.to_le_bytes();
            let [i0, i1, i2, i3] = entry.id.to_le_bytes();
            [t0, t1, p0, p1, i0, i1, i2, i3]
        });
        VERSION.to_le_bytes().into_iter().chain(entries).collect()
    }

    /// In order, each as often as it may be, and a mask when there must be one (Linux `posix_acl_valid`).
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(Tag::User) + count(Tag::Group) > 0;
        self.0.is_sorted_by_key(|entry| entry.tag)
            && [Tag::Owner, Tag::OwningGroup, Tag::Other].into_iter().all(|tag| count(tag) == 1)
            && (usize::from(named)..=1).contains(&count(Tag::Mask))
    }

    fn entry(&mut self, tag: Tag) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.tag == tag)
    }

    /// Whose permissions the group's bits of a mode are.
    fn class_of_group(&self) -> Tag {
        let masked = self.0.iter().any(|entry| entry.tag == Tag::Mask);
        if masked { Tag::Mask } else { Tag::OwningGroup }
    }

    /// Whose permissions the bits of a mode are, each with how far left they are.
    fn classes(&self) -> [(Tag, u16); 3] {
        [(Tag::Owner, 6), (self.class_of_group(), 3), (Tag::Other, 0)]
    }

    /// The permission bits of a mode, without those that are no permissions.
    pub(crate) fn permissions(&self) -> u16 {
        let bits = |(tag, shift): (Tag, u16)| {
            let entry = self.0.iter().find(|entry| entry.tag == tag);
            entry.map_or(0, |entry| entry.permissions << shift)
        };
        self.classes().into_iter().map(bits).sum()
    }

    /// Whether a mode says all of it.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, Tag::Owner | Tag::OwningGroup | Tag::Other))
    }

    /// The mode was set (Linux `posix_acl_chmod`).
    pub(crate) fn follow_mode(&mut self, mode: u16) {
        for (tag, shift) in self.classes() {
            if let Some(entry) = self.entry(tag) {
                entry.permissions = mode >> shift & PERMISSIONS;
            }
        }
    }

    /// A default list becomes the list of a new inode that is made with a mode: each has what both allow. Answers the mode
    /// that follows (Linux `posix_acl_create`).
    pub(crate) fn begin(&mut self, mode: u16) -> u16 {
        for (tag, shift) in self.classes() {
            if let Some(entry) = self.entry(tag) {
                entry.permissions &= mode >> shift;
            }
        }
        mode & !0o777 | self.permissions()
    }
}

impl Entry {
    fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        let [t0, t1, p0, p1, id @ ..] = bytes else { return Err(MetaError::Invalid) };
        let tag = match u16::from_le_bytes([*t0, *t1]) {
            0x01 => Tag::Owner,
            0x02 => Tag::User,
            0x04 => Tag::OwningGroup,
            0x08 => Tag::Group,
            0x10 => Tag::Mask,
            0x20 => Tag::Other,
            _ => return Err(MetaError::Invalid),
        };
        let permissions = u16::from_le_bytes([*p0, *p1]);
        let id = u32::from_le_bytes(id.try_into().map_err(|_| MetaError::Invalid)?);
        let named = matches!(tag, Tag::User | Tag::Group);
        if permissions & !PERMISSIONS != 0 || named && id == NO_ID {
            return Err(MetaError::Invalid);
        }
        Ok(Self { tag, permissions, id: if named { id } else { NO_ID } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of these (tag, permissions, id).
    fn bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    fn list(entries: &[(u16, u16, u32)]) -> Acl {
        Acl::decode(&bytes(entries)).expect("a list").expect("has entries")
    }

    const NONE: u32 = u32::MAX;
    const MINIMAL: [(u16, u16, u32); 3] = [(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)];
    const NAMED: [(u16, u16, u32); 6] =
        [(1, 7, NONE), (2, 6, 1000), (4, 5, NONE), (8, 7, 100), (0x10, 3, NONE), (0x20, 1, NONE)];

    #[test]
    fn lists_are_read_and_written_as_they_are() {
        for entries in [&MINIMAL[..], &NAMED] {
            assert_eq!(list(entries).encode(), bytes(entries));
        }
        assert_eq!(Acl::decode(&[2, 0, 0, 0]), Ok(None));
        let with_ids = MINIMAL.map(|(tag, permissions, _)| (tag, permissions, 7));
        assert_eq!(list(&with_ids), list(&MINIMAL), "an id that means nothing is not kept");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let without = |tag: u16| NAMED.iter().copied().filter(|entry| entry.0 != tag).collect::<Vec<_>>();
        let with = |at: usize, entry| {
            let mut entries = NAMED.to_vec();
            entries.insert(at, entry);
            entries
        };
        let rows = [
            vec![],
            vec![2, 0, 0],
            vec![1, 0, 0, 0],
            bytes(&MINIMAL)[..27].to_vec(),
            bytes(&without(1)),
            bytes(&without(4)),
            bytes(&without(0x20)),
            bytes(&without(0x10)),
            bytes(&with(1, (1, 7, NONE))),
            bytes(&with(4, (0x10, 7, NONE))),
            bytes(&with(6, (2, 7, 5))),
            bytes(&with(2, (2, 7, NONE))),
            bytes(&with(2, (2, 8, 5))),
            bytes(&with(2, (3, 7, 5))),
        ];
        for row in rows {
            assert_eq!(Acl::decode(&row), Err(MetaError::Invalid), "{row:?}");
        }
    }

    #[test]
    fn a_list_says_the_permissions_of_a_mode_and_follows_it() {
        assert_eq!((list(&MINIMAL).permissions(), list(&MINIMAL).is_minimal()), (0o640, true));
        let mut named = list(&NAMED);
        assert_eq!((named.permissions(), named.is_minimal()), (0o731, false), "the mask is the group's");
        named.follow_mode(0o2604);
        let mut expected = NAMED;
        (expected[0].1, expected[4].1, expected[5].1) = (6, 0, 4);
        assert_eq!(named, list(&expected), "the owning group keeps what it had");
        let mut minimal = list(&MINIMAL);
        minimal.follow_mode(0o751);
        assert_eq!(minimal.permissions(), 0o751);
    }

    #[test]
    fn what_a_default_list_and_a_mode_both_allow_is_what_a_new_inode_has() {
        // Mode, what becomes of it, then the permissions of the owner, the mask and others.
        let rows = [
            (0o777, 0o731, [7, 3, 1]),
            (0o666, 0o620, [6, 2, 0]),
            (0o4640, 0o4600, [6, 0, 0]),
            (0o000, 0o000, [0, 0, 0]),
        ];
        for (mode, after, [owner, mask, other]) in rows {
            let mut begun = list(&NAMED);
            assert_eq!(begun.begin(mode), after, "{mode:o}");
            let mut expected = NAMED;
            (expected[0].1, expected[4].1, expected[5].1) = (owner, mask, other);
            assert_eq!(begun, list(&expected), "{mode:o}");
        }
        let mut minimal = list(&MINIMAL);
        assert_eq!(minimal.begin(0o1777), 0o1640);
    }
}
