//! The reference: a tree in memory with every byte of every file, without rows, hashes or counts.

use std::collections::BTreeMap;

use weft_types::{ByteCount, DataKeyId, ExtentSeq, Generation, Inode, Timestamp};
use weft_wire::KeyBytes;
use weft_wire::meta::{
    Allocate, AttributeChanges, Attributes, Caller, Commit, CopyRange, Covered, FileKind, KeyGrant, MakeNode,
    MetaError, MetaOp, MetaReply, Name, NewNode, Opened, Removed, Rename, RenameMode, SetXattr, TimeChange,
    XattrMode,
};

use super::world::{at, key_bytes};

/// Where a byte of a file is: in which extent, at which of its bytes.
pub(super) type Byte = Option<(ExtentSeq, u32)>;

/// An inode with all that is in it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Links, size, allocated and change are not kept here.
    attributes: Attributes,
    pub(super) parent: Inode,
    pub(super) entries: BTreeMap<Name, Inode>,
    pub(super) bytes: Vec<Byte>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) target: Vec<u8>,
    pub(super) key: Option<DataKeyId>,
    /// When the time of access was last set, other than by reading.
    accessed_set: Timestamp,
    /// It never had a name.
    unnamed: bool,
}

impl Node {
    fn is_directory(&self) -> bool {
        self.attributes.kind == FileKind::Directory
    }
}

/// The tree.
pub(super) struct Model {
    pub(super) nodes: BTreeMap<Inode, Node>,
    next_inode: u64,
    next_key: u64,
    pub(super) now: i64,
    caller: Caller,
}

type Answer = Result<MetaReply, MetaError>;

impl Model {
    /// A root directory, made at time 1.
    pub(super) fn new(caller: Caller) -> Self {
        let mut model = Self { nodes: BTreeMap::new(), next_inode: 1, next_key: 1, now: 1, caller };
        model.add(Inode::ROOT, FileKind::Directory, 0o755, 0);
        let root = model.nodes.get_mut(&Inode::ROOT).expect("just made");
        (root.attributes.uid, root.attributes.gid) = (0, 0);
        model
    }

    fn add(&mut self, parent: Inode, kind: FileKind, mode: u16, device: u32) -> Inode {
        let inode = Inode::new(self.next_inode);
        let attributes = Attributes {
            inode,
            generation: Generation::new(self.next_inode),
            kind,
            mode,
            links: 0,
            uid: self.caller.uid,
            gid: self.caller.gid,
            device,
            size: 0,
            allocated: ByteCount::new(0),
            accessed: at(self.now),
            modified: at(self.now),
            changed: at(self.now),
            created: at(self.now),
            change: 0,
            no_xattrs: true,
        };
        let node = Node {
            attributes,
            parent,
            entries: BTreeMap::new(),
            bytes: Vec::new(),
            xattrs: BTreeMap::new(),
            target: Vec::new(),
            key: None,
            accessed_set: Timestamp::default(),
            unnamed: false,
        };
        self.nodes.insert(inode, node);
        self.next_inode += 1;
        inode
    }

    /// What `stat` shows, counted afresh; `change` is 0.
    pub(super) fn attributes(&self, inode: Inode) -> Result<Attributes, MetaError> {
        let node = self.nodes.get(&inode).ok_or(MetaError::NotFound)?;
        let names = self.nodes.values().flat_map(|node| node.entries.values());
        let names = names.filter(|named| **named == inode).count();
        let links = match node.is_directory() {
            true if names == 0 && inode != Inode::ROOT => 0,
            true => 2 + node.entries.values().filter(|child| self.nodes[*child].is_directory()).count(),
            false => names,
        };
        let size = match node.attributes.kind {
            FileKind::File => node.bytes.len() as u64,
            FileKind::Symlink => node.target.len() as u64,
            FileKind::Directory => 4096,
            _ => 0,
        };
        let allocated = node.bytes.iter().flatten().count() as u64;
        let allocated = ByteCount::new(allocated);
        let (links, no_xattrs) = (links as u32, node.xattrs.is_empty());
        Ok(Attributes { links, size, allocated, no_xattrs, ..node.attributes.clone() })
    }

    /// Inodes without a name.
    pub(super) fn orphans(&self) -> Vec<Inode> {
        let orphan = |inode: &Inode| self.attributes(*inode).is_ok_and(|attributes| attributes.links == 0);
        self.nodes.keys().copied().filter(orphan).collect()
    }

    pub(super) fn reap(&mut self, inode: Inode) {
        if self.orphans().contains(&inode) {
            self.nodes.remove(&inode);
        }
    }

    fn directory(&self, inode: Inode) -> Result<&Node, MetaError> {
        let node = self.nodes.get(&inode).ok_or(MetaError::NotFound)?;
        if node.is_directory() { Ok(node) } else { Err(MetaError::NotDirectory) }
    }

    fn living(&self, inode: Inode) -> Result<&Node, MetaError> {
        let node = self.directory(inode)?;
        if self.attributes(inode)?.links == 0 { Err(MetaError::NotFound) } else { Ok(node) }
    }

    fn child(&self, parent: Inode, name: &Name) -> Result<Inode, MetaError> {
        self.directory(parent)?.entries.get(name).copied().ok_or(MetaError::NotFound)
    }

    fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("checked before")
    }

    fn change(&mut self, inode: Inode) {
        let now = at(self.now);
        self.node(inode).attributes.changed = now;
    }

    /// Makes a name lead somewhere else, or nowhere.
    fn point(&mut self, parent: Inode, name: &Name, to: Option<Inode>) {
        let now = at(self.now);
        let directory = self.node(parent);
        match to {
            Some(inode) => directory.entries.insert(name.clone(), inode),
            None => directory.entries.remove(name),
        };
        directory.attributes.modified = now;
        directory.attributes.changed = now;
        if let Some(inode) = to {
            self.node(inode).unnamed = false;
            self.change(inode);
            if self.nodes[&inode].is_directory() {
                self.node(inode).parent = parent;
            }
        }
    }

    fn removed(&mut self, inode: Inode) -> Removed {
        self.change(inode);
        let attributes = self.attributes(inode).expect("still here");
        Removed { orphaned: attributes.links == 0, attributes }
    }

    /// Does a mutation, or says why not and changes nothing.
    pub(super) fn apply(&mut self, op: &MetaOp) -> Answer {
        match op {
            MetaOp::MakeNode(op) => self.make(op),
            MetaOp::MakeUnnamed(op) => {
                let directory = self.living(op.parent)?.attributes.clone();
                let inode = self.add(op.parent, FileKind::File, op.mode & !op.umask, 0);
                let node = self.node(inode);
                node.unnamed = true;
                if directory.mode & 0o2000 != 0 {
                    node.attributes.gid = directory.gid;
                }
                self.opened(inode)
            }
            MetaOp::Accessed(accesses) => {
                for access in accesses {
                    let node = self.nodes.get_mut(&access.inode);
                    if let Some(node) = node.filter(|node| node.accessed_set <= access.at) {
                        node.attributes.accessed = node.attributes.accessed.max(access.at);
                    }
                }
                Ok(MetaReply::Done)
            }
            MetaOp::Unlink { parent, name } => self.remove(*parent, name, false),
            MetaOp::RemoveDirectory { parent, name } => self.remove(*parent, name, true),
            MetaOp::Link { inode, parent, name } => self.link(*inode, *parent, name),
            MetaOp::Rename(op) => self.rename(op),
            MetaOp::SetAttributes { inode, changes } => self.set(*inode, changes),
            MetaOp::SetXattr(op) => self.set_xattr(op),
            MetaOp::RemoveXattr { inode, name } => {
                let node = self.nodes.get_mut(inode).ok_or(MetaError::NotFound)?;
                node.xattrs.remove(&name[..]).ok_or(MetaError::NoAttribute)?;
                self.change(*inode);
                Ok(MetaReply::Done)
            }
            MetaOp::Commit(op) => self.commit(op),
            MetaOp::Allocate(op) => self.allocate(op),
            MetaOp::CopyRange(op) => self.copy_range(op),
            MetaOp::Reap { inodes } => {
                inodes.iter().for_each(|inode| self.reap(*inode));
                Ok(MetaReply::Done)
            }
            other => panic!("no mutation: {other:?}"),
        }
    }

    fn make(&mut self, op: &MakeNode) -> Answer {
        let directory = self.living(op.parent)?;
        if directory.entries.contains_key(&op.name) {
            return Err(MetaError::Exists);
        }
        let group = (directory.attributes.mode & 0o2000 != 0).then_some(directory.attributes.gid);
        let (kind, device) = match &op.node {
            NewNode::File => (FileKind::File, 0),
            NewNode::Directory => (FileKind::Directory, 0),
            NewNode::Symlink { .. } => (FileKind::Symlink, 0),
            NewNode::Fifo => (FileKind::Fifo, 0),
            NewNode::Socket => (FileKind::Socket, 0),
            NewNode::CharDevice(device) => (FileKind::CharDevice, *device),
            NewNode::BlockDevice(device) => (FileKind::BlockDevice, *device),
        };
        let mode = if kind == FileKind::Symlink { 0o777 } else { op.mode & !op.umask };
        let inode = self.add(op.parent, kind, mode, device);
        let node = self.node(inode);
        if let Some(gid) = group {
            node.attributes.gid = gid;
            node.attributes.mode |= if kind == FileKind::Directory { 0o2000 } else { 0 };
        }
        if let NewNode::Symlink { target } = &op.node {
            node.target = target.to_vec();
        }
        self.point(op.parent, &op.name, Some(inode));
        if kind != FileKind::File {
            return Ok(MetaReply::Attributes(self.attributes(inode)?));
        }
        self.opened(inode)
    }

    /// A new file gets a key.
    fn opened(&mut self, inode: Inode) -> Answer {
        let key = DataKeyId::new(self.next_key);
        self.next_key += 1;
        self.node(inode).key = Some(key);
        let attributes = self.attributes(inode)?;
        let key = KeyGrant { id: key, key: KeyBytes::new(key_bytes(key)) };
        Ok(MetaReply::Opened(Opened { attributes, key }))
    }

    fn remove(&mut self, parent: Inode, name: &Name, directory: bool) -> Answer {
        let inode = self.child(parent, name)?;
        match (directory, self.nodes[&inode].is_directory()) {
            (true, false) => return Err(MetaError::NotDirectory),
            (false, true) => return Err(MetaError::IsDirectory),
            (true, true) if !self.nodes[&inode].entries.is_empty() => return Err(MetaError::NotEmpty),
            _ => {}
        }
        self.point(parent, name, None);
        Ok(MetaReply::Removed(self.removed(inode)))
    }

    fn link(&mut self, inode: Inode, parent: Inode, name: &Name) -> Answer {
        let attributes = self.attributes(inode)?;
        if self.living(parent)?.entries.contains_key(name) {
            return Err(MetaError::Exists);
        }
        match (attributes.kind, attributes.links) {
            (FileKind::Directory, _) => return Err(MetaError::NotPermitted),
            (_, 0) if !self.nodes[&inode].unnamed => return Err(MetaError::NotFound),
            _ => self.point(parent, name, Some(inode)),
        }
        Ok(MetaReply::Attributes(self.attributes(inode)?))
    }

    /// Whether `inode` is `top` or below it.
    fn is_below(&self, inode: Inode, top: Inode) -> bool {
        inode == top || self.nodes[&top].entries.values().any(|child| self.is_below(inode, *child))
    }

    fn rename(&mut self, op: &Rename) -> Answer {
        self.living(op.parent)?;
        self.living(op.new_parent)?;
        let source = self.child(op.parent, &op.name)?;
        let target = self.child(op.new_parent, &op.new_name).ok();
        let done = |replaced| Ok(MetaReply::Renamed { replaced });
        match (op.mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(MetaError::Exists),
            (RenameMode::Exchange, None) => return Err(MetaError::NotFound),
            (_, Some(target)) if target == source => return done(None),
            _ => {}
        }
        if self.is_below(op.new_parent, source) {
            return Err(MetaError::Invalid);
        }
        let Some(target) = target else {
            self.point(op.parent, &op.name, None);
            self.point(op.new_parent, &op.new_name, Some(source));
            return done(None);
        };
        if op.mode == RenameMode::Exchange {
            if self.is_below(op.parent, target) {
                return Err(MetaError::Invalid);
            }
            self.point(op.parent, &op.name, Some(target));
            self.point(op.new_parent, &op.new_name, Some(source));
            return done(None);
        }
        match (self.nodes[&source].is_directory(), self.nodes[&target].is_directory()) {
            (true, false) => return Err(MetaError::NotDirectory),
            (false, true) => return Err(MetaError::IsDirectory),
            (true, true) if !self.nodes[&target].entries.is_empty() => return Err(MetaError::NotEmpty),
            _ => {}
        }
        self.point(op.new_parent, &op.new_name, None);
        let removed = self.removed(target);
        self.point(op.parent, &op.name, None);
        self.point(op.new_parent, &op.new_name, Some(source));
        done(Some(removed))
    }

    fn file(&mut self, inode: Inode) -> Result<&mut Node, MetaError> {
        let node = self.nodes.get_mut(&inode).ok_or(MetaError::NotFound)?;
        match node.attributes.kind {
            FileKind::File => Ok(node),
            FileKind::Directory => Err(MetaError::IsDirectory),
            _ => Err(MetaError::Invalid),
        }
    }

    fn set(&mut self, inode: Inode, changes: &AttributeChanges) -> Answer {
        let now = at(self.now);
        let kind = self.attributes(inode)?.kind;
        if let Some(size) = changes.size {
            let file = self.file(inode)?;
            file.bytes.resize(size as usize, None);
            file.attributes.modified = now;
        }
        if changes.mode.is_some() && kind == FileKind::Symlink {
            return Err(MetaError::NotPermitted);
        }
        let caller = self.caller;
        if let Some(TimeChange::At(time)) = changes.accessed {
            let node = self.node(inode);
            (node.attributes.accessed, node.accessed_set) = (time, now);
        }
        let attributes = &mut self.node(inode).attributes;
        attributes.mode = changes.mode.unwrap_or(attributes.mode);
        let group = if attributes.mode & 0o10 != 0 { 0o2000 } else { 0 };
        if (changes.uid.is_some() || changes.gid.is_some()) && kind != FileKind::Directory {
            attributes.mode &= !(0o4000 | group);
        }
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        if changes.kill_privileges && kind == FileKind::File {
            let group = if attributes.gid == caller.gid { group } else { 0o2000 };
            attributes.mode &= !(0o4000 | group);
        }
        self.change(inode);
        Ok(MetaReply::Attributes(self.attributes(inode)?))
    }

    fn set_xattr(&mut self, op: &SetXattr) -> Answer {
        let node = self.nodes.get_mut(&op.inode).ok_or(MetaError::NotFound)?;
        match (op.mode, node.xattrs.contains_key(&op.name[..])) {
            (XattrMode::Create | XattrMode::CreateAndReplace, true) => return Err(MetaError::Exists),
            (XattrMode::Replace | XattrMode::CreateAndReplace, false) => return Err(MetaError::NoAttribute),
            _ => drop(node.xattrs.insert(op.name.to_vec(), op.value.to_vec())),
        }
        self.change(op.inode);
        Ok(MetaReply::Done)
    }

    fn allocate(&mut self, op: &Allocate) -> Answer {
        let now = at(self.now);
        let file = self.file(op.inode)?;
        if op.len == 0 {
            return Err(MetaError::Invalid);
        }
        let (start, end) = (op.offset.get() as usize, (op.offset.get() + op.len) as usize);
        if op.mode.extends() {
            file.bytes.resize(file.bytes.len().max(end), None);
        }
        if op.mode.clears() {
            let end = end.min(file.bytes.len());
            file.bytes.get_mut(start..end).unwrap_or_default().fill(None);
        }
        file.attributes.modified = now;
        self.change(op.inode);
        let attributes = self.attributes(op.inode)?;
        Ok(MetaReply::Covered(Covered { attributes, len: op.len }))
    }

    fn copy_range(&mut self, op: &CopyRange) -> Answer {
        let now = at(self.now);
        let (start, target) = (op.from_offset.get() as usize, op.to_offset.get() as usize);
        let source = self.file(op.from)?.bytes.iter().skip(start).take(op.len as usize);
        let copied: Vec<Byte> = source.copied().collect();
        self.file(op.to)?;
        let (len, overlaps) = (copied.len(), start.abs_diff(target) < copied.len());
        if len > 0 && op.from == op.to && overlaps {
            return Err(MetaError::Invalid);
        }
        if len > 0 {
            let file = self.file(op.to)?;
            file.bytes.resize(file.bytes.len().max(target + len), None);
            file.bytes[target..target + len].copy_from_slice(&copied);
            file.attributes.modified = now;
            self.change(op.to);
        }
        let attributes = self.attributes(op.to)?;
        Ok(MetaReply::Covered(Covered { attributes, len: len as u64 }))
    }

    fn commit(&mut self, op: &Commit) -> Answer {
        let file = self.file(op.inode)?;
        let end = |extent: &weft_wire::meta::NewExtent| {
            extent.offset.get() + extent.geometry.plaintext_bytes().get()
        };
        for (i, extent) in op.extents.iter().enumerate() {
            let apart = |other| end(other) <= extent.offset.get() || end(extent) <= other.offset.get();
            if !op.extents[..i].iter().all(apart) {
                return Err(MetaError::Invalid);
            }
        }
        let size = file.bytes.len().max(op.size_min as usize);
        file.bytes.resize(size, None);
        for extent in &op.extents {
            for (at, offset) in (extent.offset.get()..end(extent)).enumerate() {
                if let Some(byte) = file.bytes.get_mut(offset as usize) {
                    *byte = Some((extent.extent.seq, at as u32));
                }
            }
        }
        if let Some(modified) = op.modified {
            file.attributes.modified = modified;
            file.attributes.changed = file.attributes.changed.max(modified);
        }
        if let Some(changes) = &op.attributes {
            drop(self.set(op.inode, changes)?);
        }
        Ok(MetaReply::Attributes(self.attributes(op.inode)?))
    }
}
