//! Inodes, names, and how a path leads from one to the other.

use std::collections::{BTreeMap, VecDeque};

use rustix::io::Errno;

use super::Kind;

/// Symbolic links that Linux follows in one path.
const LINKS_FOLLOWED_MAX: usize = 40;

/// An inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(usize);

/// What an inode is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<String, Id>),
    Symlink(String),
    Socket,
}

impl Body {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Directory(_) => Kind::Directory,
            Self::Symlink(_) => Kind::Symlink,
            Self::Socket => Kind::Socket,
        }
    }
}

/// An inode's content and attributes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names that lead to it.
    pub(super) names: u64,
    pub(super) modified: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Where a path ends: in this directory, at this name, which may lead somewhere.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) parent: Id,
    pub(super) name: String,
    pub(super) node: Option<Id>,
}

/// All inodes; those without a name stay, as if somebody had them open.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub(super) const ROOT: Id = Id(0);

    pub(super) fn new() -> Self {
        let body = Body::Directory(BTreeMap::new());
        let root =
            Node { body, mode: 0o755, uid: 0, gid: 0, names: 1, modified: None, xattrs: BTreeMap::new() };
        Self { nodes: vec![root] }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// The names in a directory.
    pub(super) fn children(&self, id: Id) -> Result<&BTreeMap<String, Id>, Errno> {
        match &self.node(id).body {
            Body::Directory(children) => Ok(children),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Gives an inode a name, or another one.
    pub(super) fn enter(&mut self, place: &Place, id: Id) {
        let parent = self.node_mut(place.parent);
        parent.modified = None;
        if let Body::Directory(children) = &mut parent.body {
            children.insert(place.name.clone(), id);
        }
        self.node_mut(id).names += 1;
    }

    /// Takes a name away.
    pub(super) fn remove(&mut self, place: &Place) {
        let parent = self.node_mut(place.parent);
        parent.modified = None;
        if let Body::Directory(children) = &mut parent.body
            && let Some(id) = children.remove(&place.name)
        {
            self.node_mut(id).names -= 1;
        }
    }

    /// A new inode, owned by root and by the group that its directory says, without a name yet.
    pub(super) fn make(&mut self, parent: Id, body: Body, mode: u32) -> Id {
        let parent = self.node(parent);
        let inherits = parent.mode & 0o2000 != 0;
        let gid = if inherits { parent.gid } else { 0 };
        let mode = if inherits && body.kind() == Kind::Directory { mode | 0o2000 } else { mode };
        let xattrs = BTreeMap::new();
        self.nodes.push(Node { body, mode, uid: 0, gid, names: 0, modified: None, xattrs });
        Id(self.nodes.len() - 1)
    }

    /// Follows a path; a symbolic link at its end only if told to.
    pub(super) fn walk(&self, path: &str, follow: bool) -> Result<Place, Errno> {
        let mut ahead: VecDeque<&str> = path.split('/').collect();
        let (mut parent, mut followed) = (Self::ROOT, 0);
        while let Some(name) = ahead.pop_front() {
            let is_last = ahead.is_empty();
            let node = self.children(parent)?.get(name).copied();
            match node.map(|id| (id, &self.node(id).body)) {
                Some((_, Body::Symlink(target))) if follow || !is_last => {
                    followed += 1;
                    if followed > LINKS_FOLLOWED_MAX {
                        return Err(Errno::LOOP);
                    }
                    target.split('/').rev().for_each(|part| ahead.push_front(part));
                }
                Some((id, _)) if !is_last => parent = id,
                None if !is_last => return Err(Errno::NOENT),
                _ => return Ok(Place { parent, name: name.to_owned(), node }),
            }
        }
        Err(Errno::NOENT)
    }

    /// Follows a path to what must be there; `.` is the root.
    pub(super) fn find(&self, path: &str, follow: bool) -> Result<Id, Errno> {
        if path == "." {
            return Ok(Self::ROOT);
        }
        self.walk(path, follow)?.node.ok_or(Errno::NOENT)
    }

    /// Whether a directory is another one or above it.
    pub(super) fn is_within(&self, inner: Id, outer: Id) -> bool {
        let children = self.children(outer).ok();
        inner == outer || children.is_some_and(|names| names.values().any(|id| self.is_within(inner, *id)))
    }

    pub(super) fn paths(&self) -> Vec<(String, Id)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), Self::ROOT)];
        while let Some((path, id)) = open.pop() {
            for (name, child) in self.children(id).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                found.push((path.clone(), *child));
                open.push((path, *child));
            }
        }
        found
    }
}
