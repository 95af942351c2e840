//! Files and directories in memory, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use std::time::UNIX_EPOCH;

/// Contents are kept in pieces of at most this size, so that a file grows without being copied.
pub(super) const PIECE: usize = 1 << 20;
/// A file that is no longer than this has a piece of just its size.
const SMALL: usize = 64 << 10;
/// What `st_blksize` says, as a Weft mount does.
const IO_BYTES: u32 = 1 << 20;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What is not there reads as zeroes.
    pieces: Vec<Vec<u8>>,
    size: u64,
}

/// Pieces that were used before: the host need not provide them any more, which would cost more than all the rest.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Vec<u8>>>);

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
    pool: Arc<Pool>,
}

impl Pool {
    /// So many bytes, touched.
    pub(super) fn filled(bytes: usize) -> Self {
        Self(Mutex::new((0..bytes.div_ceil(PIECE)).map(|_| vec![1; PIECE]).collect()))
    }

    fn take(&self) -> Vec<u8> {
        let mut piece = self.pieces().pop().unwrap_or_else(|| Vec::with_capacity(PIECE));
        piece.clear();
        piece
    }

    fn give(&self, piece: Vec<u8>) {
        if piece.capacity() >= PIECE {
            self.pieces().push(piece);
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Hands on the bytes of a range, as far as they are there; they are copied only where they lie in several pieces.
    pub(super) fn read<T>(&self, offset: u64, len: usize, done: impl FnOnce(&[u8]) -> T) -> T {
        let end = self.size.min(offset.saturating_add(len as u64));
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or_default();
        let (piece, from) = place(offset);
        if let Some(bytes) = self.pieces.get(piece).and_then(|bytes| bytes.get(from..from + len)) {
            return done(bytes);
        }
        let mut out = vec![0; len];
        let mut filled = 0;
        while filled < len {
            let (piece, from) = place(offset + filled as u64);
            let run = (len - filled).min(PIECE - from);
            let there = self.pieces.get(piece).and_then(|bytes| bytes.get(from..)).unwrap_or_default();
            let there = &there[..there.len().min(run)];
            out[filled..filled + there.len()].copy_from_slice(there);
            filled += run;
        }
        done(&out)
    }

    /// Writes; memory for it comes from the pool.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], pool: &Pool) {
        let mut done = 0;
        while done < data.len() {
            let (piece, from) = place(offset + done as u64);
            let run = (data.len() - done).min(PIECE - from);
            if self.pieces.len() <= piece {
                self.pieces.resize_with(piece + 1, Vec::new);
            }
            let bytes = &mut self.pieces[piece];
            if from + run > SMALL && bytes.capacity() < PIECE {
                let small = core::mem::replace(bytes, pool.take());
                bytes.extend_from_slice(&small);
            }
            if bytes.len() < from {
                bytes.resize(from, 0);
            }
            let over = run.min(bytes.len() - from);
            bytes[from..from + over].copy_from_slice(&data[done..done + over]);
            bytes.extend_from_slice(&data[done + over..done + run]);
            done += run;
        }
        self.size = self.size.max(offset + data.len() as u64);
    }

    /// Cuts it off, or lets it end in zeroes.
    pub(super) fn truncate(&mut self, size: u64, pool: &Pool) {
        if size < self.size {
            let (piece, from) = place(size);
            self.pieces.drain((piece + 1).min(self.pieces.len())..).for_each(|piece| pool.give(piece));
            if let Some(bytes) = self.pieces.get_mut(piece) {
                bytes.truncate(from);
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
    /// An empty root. Removed files leave their memory to the pool.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        let root = (INodeNo::ROOT.0, Node::Directory(Directory::default()));
        Self { nodes: HashMap::from([root]), next: 2, pool }
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
        if let Some(Node::File(contents)) = self.nodes.remove(&inode)
            && let Ok(contents) = Arc::try_unwrap(contents)
        {
            let contents = contents.into_inner().unwrap_or_else(PoisonError::into_inner);
            contents.pieces.into_iter().for_each(|piece| self.pool.give(piece));
        }
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
        let (mut contents, pool) = (Contents::default(), Pool::filled(2 * PIECE));
        let read = |contents: &Contents, offset, len| contents.read(offset, len, <[u8]>::to_vec);
        let start = PIECE as u64 * 2 - 3;
        contents.write(start, b"abcdef", &pool);
        assert_eq!(read(&contents, start - 1, 100), b"\0abcdef");
        assert_eq!(read(&contents, start + 6, 10), b"");
        contents.write(start - 1, b"xyz", &pool);
        assert_eq!(read(&contents, start - 1, 4), b"xyzc");
        contents.truncate(start + 2, &pool);
        contents.truncate(start + 4, &pool);
        assert_eq!(read(&contents, start, 10), b"yz\0\0");
        assert_eq!(read(&contents, 0, 2), b"\0\0");
    }

    #[test]
    fn a_removed_file_leaves_its_memory_to_the_next_and_nothing_of_its_contents() {
        let pool = Arc::new(Pool::filled(PIECE));
        let (mut tree, name) = (Tree::new(Arc::clone(&pool)), OsStr::new("f"));
        for round in 0..3 {
            let file = tree.make(INodeNo::ROOT.0, name, FileType::RegularFile).expect("made");
            let contents = tree.contents(file).expect("a file");
            let mut held = contents.write().expect("nobody panics");
            held.write(PIECE as u64 - 1, b"z", &pool);
            assert_eq!(
                held.read(0, PIECE, |bytes| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()),
                122
            );
            assert!(pool.pieces().is_empty(), "round {round}");
            drop(held);
            drop(contents);
            tree.remove(INodeNo::ROOT.0, name).expect("removed");
            assert_eq!(pool.pieces().len(), 1, "round {round}");
        }
    }

    #[test]
    fn names_come_and_go() {
        let (mut tree, root) = (Tree::new(Arc::default()), INodeNo::ROOT.0);
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
