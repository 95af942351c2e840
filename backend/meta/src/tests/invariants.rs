//! What holds of the rows after every operation.

use std::collections::{BTreeMap, BTreeSet};

use weft_types::{DataKeyId, ExtentId, Inode};
use weft_wire::meta::FileKind;

use super::memory::Memory;
use super::world::Names;
use crate::{
    ClosingRow, CountersRow, DataKeyRow, DentryRow, ExtentRow, InodeRow, MapRow, NameHasher, ReapingRow,
    RowKey, SessionRow, SlotRow, SymlinkRow, XattrRow,
};

/// All rows, by kind.
#[derive(Default)]
struct Rows {
    counters: Option<CountersRow>,
    inodes: BTreeMap<Inode, InodeRow>,
    /// Inode, then (parent, type) of each name.
    names: BTreeMap<Inode, Vec<(Inode, FileKind)>>,
    /// Names of each directory.
    entries: BTreeMap<Inode, u64>,
    xattrs: BTreeMap<Inode, (u32, u32)>,
    symlinks: BTreeSet<Inode>,
    runs: BTreeMap<Inode, Vec<(u64, MapRow)>>,
    extents: BTreeMap<ExtentId, ExtentRow>,
    keys: BTreeMap<DataKeyId, DataKeyRow>,
    dead: BTreeMap<ExtentId, ExtentRow>,
    orphans: Vec<(RowKey, Inode)>,
    truncating: BTreeSet<Inode>,
    reaping: BTreeMap<Inode, ReapingRow>,
    owners: Vec<weft_types::SessionId>,
    sessions: BTreeSet<weft_types::SessionId>,
    closing: BTreeSet<weft_types::SessionId>,
    open: BTreeSet<weft_types::SessionId>,
}

fn value<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> T {
    minicbor::decode(bytes).expect("a row decodes")
}

impl Rows {
    fn read(memory: &Memory, names: Names) -> Self {
        let mut rows = Self::default();
        for (key, bytes) in &memory.rows {
            let key = RowKey::decode(key).expect("a key decodes");
            rows.add(key, bytes, names);
        }
        rows
    }

    fn add(&mut self, key: RowKey, bytes: &[u8], names: Names) {
        match key {
            RowKey::Counters => self.counters = Some(value(bytes)),
            RowKey::Inode(inode) => {
                let row: InodeRow = value(bytes);
                assert_eq!(row.attributes.inode, inode);
                self.inodes.insert(inode, row);
            }
            RowKey::Dentry { parent, hash } => {
                let row: DentryRow = value(bytes);
                assert!(!row.names.is_empty() && row.names.is_sorted_by(|a, b| a.name < b.name));
                for entry in row.names {
                    assert_eq!(names.hash(parent, entry.name.as_bytes()), hash);
                    self.names.entry(entry.inode).or_default().push((parent, entry.kind));
                    *self.entries.entry(parent).or_default() += 1;
                }
            }
            RowKey::Xattr { inode, .. } => {
                let row: XattrRow = value(bytes);
                assert!(!row.xattrs.is_empty());
                let sums = self.xattrs.entry(inode).or_default();
                for xattr in row.xattrs {
                    sums.0 += xattr.name.len() as u32 + 1;
                    sums.1 += (xattr.name.len() + xattr.value.len()) as u32;
                }
            }
            RowKey::Symlink(inode) => {
                let _: SymlinkRow = value(bytes);
                self.symlinks.insert(inode);
            }
            RowKey::MapEntry { inode, end } => {
                self.runs.entry(inode).or_default().push((end, value(bytes)));
            }
            RowKey::Extent(id) => drop(self.extents.insert(id, value(bytes))),
            RowKey::DataKey(id) => drop(self.keys.insert(id, value(bytes))),
            RowKey::DeadExtent(id) => drop(self.dead.insert(id, value(bytes))),
            RowKey::Orphan { session, inode } => {
                self.owners.push(session);
                self.orphans.push((key, inode));
            }
            RowKey::Session(session) => {
                let _: SessionRow = value(bytes);
                self.open.insert(session);
                assert!(self.sessions.insert(session));
            }
            RowKey::Slot { session, .. } => {
                let _: SlotRow = value(bytes);
                self.owners.push(session);
            }
            RowKey::Truncating(inode) => drop(self.truncating.insert(inode)),
            RowKey::Reaping(inode) => drop(self.reaping.insert(inode, value(bytes))),
            RowKey::Closing(session) => {
                let _: ClosingRow = value(bytes);
                self.closing.insert(session);
            }
            RowKey::Ending(session) => assert!(self.sessions.insert(session), "open or ending, not both"),
        }
    }

    fn check_names(&self) {
        for (inode, row) in &self.inodes {
            let names = self.names.get(inode).map_or(&[][..], Vec::as_slice);
            assert!(names.iter().all(|(_, kind)| *kind == row.attributes.kind));
            assert_eq!(row.entries, self.entries.get(inode).copied().unwrap_or(0), "entries of {inode}");
            let orphans = self.orphans.iter().filter(|(_, orphan)| orphan == inode).count();
            assert_eq!(orphans, usize::from(row.attributes.links == 0), "orphan rows of {inode}");
            if !row.is_directory() {
                assert_eq!(row.attributes.links as usize, names.len(), "links of {inode}");
                continue;
            }
            let named = usize::from(*inode != Inode::ROOT && row.attributes.links > 0);
            assert_eq!(names.len(), named, "names of directory {inode}");
            assert!(names.iter().all(|(parent, _)| Some(*parent) == row.parent), "parent of {inode}");
            if row.attributes.links > 0 {
                let below = self.names.values().flatten();
                let subdirectories =
                    below.filter(|(parent, kind)| parent == inode && *kind == FileKind::Directory).count();
                assert_eq!(row.attributes.links as usize, 2 + subdirectories, "links of directory {inode}");
            }
        }
        assert!(self.names.keys().all(|inode| self.inodes.contains_key(inode)), "a name leads nowhere");
        assert!(self.orphans.iter().all(|(_, inode)| self.inodes.contains_key(inode)));
        assert!(self.open.is_disjoint(&self.closing), "a session that has ended is open");
        assert!(self.owners.iter().all(|session| self.sessions.contains(session)));
    }

    fn check_inodes(&self) {
        for (inode, row) in &self.inodes {
            let attributes = &row.attributes;
            let xattrs = self.xattrs.get(inode).copied().unwrap_or_default();
            assert_eq!((row.xattr_name_bytes, row.xattr_bytes), xattrs, "attributes of {inode}");
            assert_eq!(attributes.no_xattrs, xattrs.0 == 0, "whether {inode} has any");
            assert_eq!(attributes.kind == FileKind::Symlink, self.symlinks.contains(inode));
            assert_eq!(attributes.kind == FileKind::File, row.key.is_some());
            let runs = self.runs.get(inode).map_or(&[][..], Vec::as_slice);
            let mapped: u64 = runs.iter().map(|(_, run)| u64::from(run.len)).sum();
            assert_eq!(attributes.allocated.get(), mapped, "allocated of {inode}");
            let last = runs.last().map_or(0, |(end, _)| *end);
            assert!(
                last <= attributes.size || self.truncating.contains(inode),
                "{inode} is mapped beyond its size"
            );
        }
        let known = |inode: &Inode| self.inodes.contains_key(inode) ^ self.reaping.contains_key(inode);
        assert!(self.xattrs.keys().all(known) && self.symlinks.iter().all(known));
        assert!(self.runs.keys().all(known) && self.truncating.iter().all(known));
    }

    fn check_extents(&self) {
        let mut references: BTreeMap<ExtentId, u64> = BTreeMap::new();
        for runs in self.runs.values() {
            let mut from = 0;
            for (end, run) in runs {
                assert!(run.len > 0 && end - u64::from(run.len) >= from, "runs overlap");
                from = *end;
                let extent = &self.extents[&run.extent];
                let bytes = extent.geometry.plaintext_bytes().get();
                assert!(u64::from(run.extent_offset) + u64::from(run.len) <= bytes);
                assert!(self.keys.contains_key(&run.key));
                *references.entry(run.extent).or_default() += 1;
            }
        }
        let counted: BTreeMap<_, _> = self.extents.iter().map(|(id, row)| (*id, row.references)).collect();
        assert_eq!(counted, references);
        assert!(self.extents.values().all(|row| row.died.is_none()));
        assert!(self.dead.values().all(|row| row.references == 0 && row.died.is_some()));
        let inodes = self.inodes.values().filter_map(|row| row.key);
        let reaping = self.reaping.values().filter_map(|row| row.key);
        let mut used: BTreeMap<DataKeyId, u64> = inodes.chain(reaping).map(|key| (key, 1)).collect();
        for (inode, runs) in &self.runs {
            let own = self.inodes.get(inode).map(|row| row.key);
            let own = own.unwrap_or_else(|| self.reaping[inode].key);
            for (_, run) in runs.iter().filter(|(_, run)| Some(run.key) != own) {
                *used.entry(run.key).or_default() += 1;
            }
        }
        assert_eq!(used, self.keys.iter().map(|(id, row)| (*id, row.references)).collect());
    }

    fn check_counters(&self) {
        let counters = self.counters.as_ref().expect("counters");
        assert_eq!(counters.inodes, self.inodes.len() as u64);
        assert_eq!(counters.extents, (self.extents.len() + self.dead.len()) as u64);
        let mapped: u64 = self.runs.values().flatten().map(|(_, run)| u64::from(run.len)).sum();
        assert_eq!(counters.mapped.get(), mapped);
        assert!(self.inodes.keys().all(|inode| inode.get() < counters.next_inode));
        assert!(self.keys.keys().all(|key| *key < counters.next_key));
        assert!(self.inodes.values().all(|row| row.attributes.generation < counters.next_generation));
    }
}

/// Panics unless links, references, sums and counters are right and every row belongs to something.
pub(super) fn check(memory: &Memory, names: Names) {
    let rows = Rows::read(memory, names);
    rows.check_names();
    rows.check_inodes();
    rows.check_extents();
    rows.check_counters();
}
