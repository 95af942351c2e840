//! Operations on names: open, make, link, rename, remove.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::tree::Place;
use super::{Access, Body, Descriptor, Id, Kind, Model, Open, Outcome, RenameHow, Tree};

impl Model {
    pub(super) fn open(&mut self, slot: usize, path: &str, how: Open) -> Result<Outcome, Errno> {
        self.slots[slot] = None;
        let place = self.tree.walk(path, !how.exclusive && !how.no_follow)?;
        let node = match (place.node, how.create) {
            (Some(_), _) if how.exclusive => return Err(Errno::EXIST),
            (Some(id), create) => self.open_existing(id, how, create.is_some())?,
            (None, Some(mode)) => self.add(&place, Body::File(Vec::new()), mode),
            (None, None) => return Err(Errno::NOENT),
        };
        self.slots[slot] = Some(Descriptor { node, access: how.access, append: how.append });
        Ok(Outcome::Done)
    }

    fn open_existing(&mut self, id: Id, how: Open, create: bool) -> Result<Id, Errno> {
        let writes = how.access != Access::Read;
        let node = self.tree.node_mut(id);
        match &mut node.body {
            Body::Directory(_) if create || writes => Err(Errno::ISDIR),
            Body::Directory(_) => Ok(id),
            _ if how.directory => Err(Errno::NOTDIR),
            Body::Symlink(_) => Err(Errno::LOOP),
            Body::Socket => Err(Errno::NXIO),
            Body::File(content) => {
                if how.truncate {
                    content.clear();
                    node.modified = None;
                }
                Ok(id)
            }
        }
    }

    /// Makes something at a path that must be free.
    pub(super) fn make(&mut self, path: &str, body: Body, mode: u32) -> Result<Outcome, Errno> {
        let place = self.tree.walk(path, false)?;
        if place.node.is_some() {
            return Err(Errno::EXIST);
        }
        self.add(&place, body, mode);
        Ok(Outcome::Done)
    }

    fn add(&mut self, place: &Place, body: Body, mode: u32) -> Id {
        let id = self.tree.make(place.parent, body, mode);
        self.tree.enter(place, id);
        id
    }

    pub(super) fn make_directory(&mut self, path: &str, mode: u32) -> Result<Outcome, Errno> {
        self.make(path, Body::Directory(BTreeMap::new()), mode)
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> Result<Outcome, Errno> {
        let id = self.tree.find(from, false)?;
        let place = self.tree.walk(to, false)?;
        match self.kind(id) {
            _ if place.node.is_some() => Err(Errno::EXIST),
            Kind::Directory => Err(Errno::PERM),
            Kind::File | Kind::Symlink | Kind::Socket => {
                self.tree.enter(&place, id);
                Ok(Outcome::Done)
            }
        }
    }

    pub(super) fn unlink(&mut self, path: &str) -> Result<Outcome, Errno> {
        let place = self.tree.walk(path, false)?;
        let id = place.node.ok_or(Errno::NOENT)?;
        if self.kind(id) == Kind::Directory {
            return Err(Errno::ISDIR);
        }
        self.tree.remove(&place);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_directory(&mut self, path: &str) -> Result<Outcome, Errno> {
        let place = self.tree.walk(path, false)?;
        let id = place.node.ok_or(Errno::NOENT)?;
        if !self.tree.children(id)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.tree.remove(&place);
        Ok(Outcome::Done)
    }

    /// In the order of the kernel's `do_renameat2` and `vfs_rename`: it decides which errno is told where several apply.
    pub(super) fn rename(&mut self, from: &str, to: &str, how: RenameHow) -> Result<Outcome, Errno> {
        let from = self.tree.walk(from, false)?;
        let to = self.tree.walk(to, false)?;
        let source = from.node.ok_or(Errno::NOENT)?;
        match (to.node, how) {
            (Some(_), RenameHow::NoReplace) => return Err(Errno::EXIST),
            (None, RenameHow::Exchange) => return Err(Errno::NOENT),
            _ => {}
        }
        if self.tree.is_within(to.parent, source) {
            return Err(Errno::INVAL);
        }
        let Some(target) = to.node else {
            self.tree.remove(&from);
            self.tree.enter(&to, source);
            return Ok(Outcome::Done);
        };
        if self.tree.is_within(from.parent, target) {
            return Err(if how == RenameHow::Exchange { Errno::INVAL } else { Errno::NOTEMPTY });
        }
        if source == target {
            return Ok(Outcome::Done);
        }
        if how != RenameHow::Exchange {
            may_replace(&self.tree, source, target)?;
        }
        self.tree.remove(&from);
        self.tree.remove(&to);
        self.tree.enter(&to, source);
        if how == RenameHow::Exchange {
            self.tree.enter(&from, target);
        }
        Ok(Outcome::Done)
    }
}

fn may_replace(tree: &Tree, source: Id, target: Id) -> Result<(), Errno> {
    match (&tree.node(source).body, &tree.node(target).body) {
        (Body::Directory(_), Body::Directory(names)) if !names.is_empty() => Err(Errno::NOTEMPTY),
        (Body::Directory(_), Body::Directory(_)) => Ok(()),
        (Body::Directory(_), _) => Err(Errno::NOTDIR),
        (_, Body::Directory(_)) => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}
