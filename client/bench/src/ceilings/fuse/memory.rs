//! Files and directories in memory, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, RwLock};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use std::time::UNIX_EPOCH;

/// Contents are kept in pieces of this size, so that a file grows without being copied.
const PIECE: usize = 1 << 20;
/// What `st_blksize` says, as a Weft mount does.
const IO_BYTES: u32 = 1 << 20;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pieces: Vec<Option<Box<[u8]>>>,
    size: u64,
}

/// A directory: names by their inode, which is also the place in a listing, and back.
#[derive(Debug, Default)]
struct Directory {
    inodes: HashMap<OsString, u64>,
    names: BTreeMap<u64, OsString>,
}

#[derive(Debug)]
enum Node {
    File(Arc<RwLock<Contents>>),
    Directory(Directory),
}

/// All of it.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Contents {
    /// The bytes of a range, as far as they are there.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(len as u64));
        let mut out = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap_or_default()];
        let mut done = 0;
        while done < out.len() {
            let (piece, from) = place(offset + done as u64);
            let run = (out.len() - done).min(PIECE - from);
            if let Some(Some(bytes)) = self.pieces.get(piece) {
                out[done..done + run].copy_from_slice(&bytes[from..from + run]);
            }
            done += run;
        }
        out
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (piece, from) = place(offset + done as u64);
            let run = (data.len() - done).min(PIECE - from);
            if self.pieces.len() <= piece {
                self.pieces.resize_with(piece + 1, || None);
            }
            let bytes = self.pieces[piece].get_or_insert_with(|| vec![0; PIECE].into());
            bytes[from..from + run].copy_from_slice(&data[done..done + run]);
            done += run;
        }
        self.size = self.size.max(offset + data.len() as u64);
    }

    pub(super) fn truncate(&mut self, size: u64) {
        if size < self.size {
            let (piece, from) = place(size);
            self.pieces.truncate(piece + 1);
            if let Some(Some(bytes)) = self.pieces.get_mut(piece) {
                bytes[from..].fill(0);
            }
        }
        self.size = size;
    }
}

fn place(offset: u64) -> (usize, usize) {
    let offset = usize::try_from(offset).expect("it lies in memory");
    (offset / PIECE, offset % PIECE)
}

impl Tree {
    /// An empty root.
    pub(super) fn new() -> Self {
        Self { nodes: HashMap::from([(INodeNo::ROOT.0, Node::Directory(Directory::default()))]), next: 2 }
    }

    /// The inode of a name.
    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.directory(parent)?.inodes.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Makes a file or a directory.
    pub(super) fn make(&mut self, parent: u64, name: &OsStr, kind: FileType) -> Result<u64, Errno> {
        let inode = self.next;
        let directory = self.directory_mut(parent)?;
        if directory.inodes.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        directory.inodes.insert(name.to_owned(), inode);
        directory.names.insert(inode, name.to_owned());
        let node = match kind {
            FileType::Directory => Node::Directory(Directory::default()),
            _ => Node::File(Arc::default()),
        };
        self.nodes.insert(inode, node);
        self.next += 1;
        Ok(inode)
    }

    /// Removes a name and what it names.
    pub(super) fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let inode = self.lookup(parent, name)?;
        if self.directory(inode).is_ok_and(|below| !below.names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        let directory = self.directory_mut(parent)?;
        directory.inodes.remove(name);
        directory.names.remove(&inode);
        self.nodes.remove(&inode);
        Ok(())
    }

    /// Gives what a name names another name; what had that one before is removed.
    pub(super) fn rename(
        &mut self,
        (parent, name): (u64, &OsStr),
        (new_parent, new_name): (u64, &OsStr),
    ) -> Result<(), Errno> {
        let inode = self.lookup(parent, name)?;
        if self.lookup(new_parent, new_name).is_ok_and(|replaced| replaced != inode) {
            self.remove(new_parent, new_name)?;
        }
        let from = self.directory_mut(parent)?;
        from.inodes.remove(name);
        from.names.remove(&inode);
        let to = self.directory_mut(new_parent)?;
        to.inodes.insert(new_name.to_owned(), inode);
        to.names.insert(inode, new_name.to_owned());
        Ok(())
    }

    /// The names of a directory behind one of them, with their inodes.
    pub(super) fn list(&self, inode: u64, after: u64) -> Result<impl Iterator<Item = (u64, &OsStr)>, Errno> {
        let names = self.directory(inode)?.names.range(after + 1..);
        Ok(names.map(|(inode, name)| (*inode, name.as_os_str())))
    }

    /// The contents of a file.
    pub(super) fn contents(&self, inode: u64) -> Result<Arc<RwLock<Contents>>, Errno> {
        match self.nodes.get(&inode).ok_or(Errno::ENOENT)? {
            Node::File(contents) => Ok(Arc::clone(contents)),
            Node::Directory(_) => Err(Errno::EISDIR),
        }
    }

    /// The attributes of an inode.
    pub(super) fn attributes(&self, inode: u64) -> Result<FileAttr, Errno> {
        let (kind, size, perm) = match self.nodes.get(&inode).ok_or(Errno::ENOENT)? {
            Node::File(contents) => {
                (FileType::RegularFile, contents.read().map_or(0, |contents| contents.size), 0o644)
            }
            Node::Directory(_) => (FileType::Directory, 0, 0o755),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: IO_BYTES,
            flags: 0,
        })
    }

    fn directory(&self, inode: u64) -> Result<&Directory, Errno> {
        match self.nodes.get(&inode).ok_or(Errno::ENOENT)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn directory_mut(&mut self, inode: u64) -> Result<&mut Directory, Errno> {
        match self.nodes.get_mut(&inode).ok_or(Errno::ENOENT)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_what_was_written_over_pieces_and_holes() {
        let mut contents = Contents::default();
        let start = PIECE as u64 * 2 - 3;
        contents.write(start, b"abcdef");
        assert_eq!(contents.read(start - 1, 100), b"\0abcdef");
        assert_eq!(contents.read(start + 6, 10), b"");
        contents.truncate(start + 2);
        contents.truncate(start + 4);
        assert_eq!(contents.read(start, 10), b"ab\0\0");
    }

    #[test]
    fn names_come_and_go() {
        let (mut tree, root) = (Tree::new(), INodeNo::ROOT.0);
        let name = OsStr::new;
        let folder = tree.make(root, name("d"), FileType::Directory).expect("made");
        let file = tree.make(folder, name("a"), FileType::RegularFile).expect("made");
        assert_eq!(
            tree.make(folder, name("a"), FileType::RegularFile).map_err(|e| e.code()),
            Err(Errno::EEXIST.code())
        );
        assert_eq!(tree.remove(root, name("d")).map_err(|e| e.code()), Err(Errno::ENOTEMPTY.code()));
        tree.make(folder, name("b"), FileType::RegularFile).expect("made");
        tree.rename((folder, name("a")), (folder, name("b"))).expect("renamed");
        let listed: Vec<_> = tree.list(folder, 0).expect("listed").collect();
        assert_eq!(listed, [(file, name("b"))]);
        assert_eq!(tree.list(folder, file).expect("listed").count(), 0);
        tree.remove(folder, name("b")).expect("removed");
        assert!(tree.attributes(file).is_err());
        tree.remove(root, name("d")).expect("empty now");
    }
}
