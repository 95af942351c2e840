//! Operations on what names and descriptors lead to.

use rustix::io::Errno;

use super::{Access, Action, Attributes, Body, Descriptor, Id, Kind, Model, Node, Outcome, SetHow, pattern};

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;

impl Model {
    pub(super) fn attempt(&mut self, action: &Action) -> Result<Outcome, Errno> {
        match action {
            Action::Open { slot, path, how } => self.open(*slot, path, *how),
            Action::MakeDirectory { path, mode } => self.make_directory(path, *mode),
            Action::MakeSocket { path, mode } => self.make(path, Body::Socket, *mode),
            Action::Symlink { target, path } => self.make(path, Body::Symlink(target.clone()), 0o777),
            Action::Link { from, to } => self.link(from, to),
            Action::Unlink { path } => self.unlink(path),
            Action::RemoveDirectory { path } => self.remove_directory(path),
            Action::Rename { from, to, how } => self.rename(from, to, *how),
            Action::Close { slot }
            | Action::Write { slot, .. }
            | Action::Read { slot, .. }
            | Action::ResizeOpen { slot, .. }
            | Action::ModeOpen { slot, .. }
            | Action::StatOpen { slot }
            | Action::Sync { slot } => match self.slots[*slot] {
                Some(descriptor) => self.with_descriptor(descriptor, action),
                None => Ok(Outcome::NotOpen),
            },
            Action::Stat { path, follow } => {
                let id = self.tree.find(path, *follow)?;
                Ok(Outcome::Attributes(self.attributes(id)))
            }
            Action::ReadLink { path } => match &self.tree.node(self.tree.find(path, false)?).body {
                Body::Symlink(target) => Ok(Outcome::Bytes(target.clone().into_bytes())),
                _ => Err(Errno::INVAL),
            },
            Action::List { path } => {
                let id = self.tree.find(path, true)?;
                Ok(Outcome::Names(self.tree.children(id)?.keys().cloned().collect()))
            }
            Action::ReadAll { path }
            | Action::Resize { path, .. }
            | Action::Mode { path, .. }
            | Action::Owner { path, .. }
            | Action::Modified { path, .. } => {
                let id = self.tree.find(path, true)?;
                with_node(self.tree.node_mut(id), action)
            }
            Action::SetXattr { path, .. }
            | Action::GetXattr { path, .. }
            | Action::ListXattrs { path }
            | Action::RemoveXattr { path, .. } => {
                let id = self.tree.find(path, true)?;
                with_xattrs(self.tree.node_mut(id), action)
            }
        }
    }

    fn with_descriptor(&mut self, descriptor: Descriptor, action: &Action) -> Result<Outcome, Errno> {
        let Descriptor { node: id, access, append } = descriptor;
        let node = self.tree.node_mut(id);
        match (action, &mut node.body) {
            (Action::Close { slot }, _) => {
                self.slots[*slot] = None;
                Ok(Outcome::Done)
            }
            (Action::StatOpen { .. }, _) => Ok(Outcome::Attributes(self.attributes(id))),
            (Action::Sync { .. }, _) => Ok(Outcome::Done),
            (Action::ModeOpen { mode, .. }, _) => {
                node.mode = *mode;
                Ok(Outcome::Done)
            }
            (Action::Read { .. }, _) if access == Access::Write => Err(Errno::BADF),
            (Action::Read { at, len, .. }, Body::File(content)) => {
                let start = content.len().min(*at as usize);
                let end = content.len().min(start + len);
                Ok(Outcome::Bytes(content[start..end].to_vec()))
            }
            (Action::Read { .. }, _) => Err(Errno::ISDIR),
            (Action::Write { .. }, _) if access == Access::Read => Err(Errno::BADF),
            (Action::Write { at, len, fill, .. }, Body::File(content)) => {
                let at = if append { content.len() } else { *at as usize };
                content.resize(content.len().max(at + len), 0);
                content[at..at + len].copy_from_slice(&pattern(*fill, *len));
                node.modified = None;
                Ok(Outcome::Count(*len))
            }
            (Action::ResizeOpen { len, .. }, Body::File(content)) if access != Access::Read => {
                content.resize(*len as usize, 0);
                node.modified = None;
                Ok(Outcome::Done)
            }
            _ => Err(Errno::INVAL),
        }
    }

    fn attributes(&self, id: Id) -> Attributes {
        let node = self.tree.node(id);
        let (links, size) = match &node.body {
            Body::File(content) => (node.names, Some(content.len() as u64)),
            Body::Symlink(target) => (node.names, Some(target.len() as u64)),
            Body::Socket => (node.names, None),
            Body::Directory(_) if node.names == 0 => (0, None),
            Body::Directory(names) => {
                let folders = names.values().filter(|id| self.kind(**id) == Kind::Directory).count();
                (2 + folders as u64, None)
            }
        };
        let Node { mode, uid, gid, modified, .. } = *node;
        Attributes { kind: node.body.kind(), mode, uid, gid, links, size, modified }
    }
}

fn with_node(node: &mut Node, action: &Action) -> Result<Outcome, Errno> {
    match (action, &mut node.body) {
        (Action::ReadAll { .. }, Body::File(content)) => return Ok(Outcome::Bytes(content.clone())),
        (Action::ReadAll { .. } | Action::Resize { .. }, Body::Directory(_)) => return Err(Errno::ISDIR),
        (Action::ReadAll { .. }, _) => return Err(Errno::NXIO),
        (Action::Resize { len, .. }, Body::File(content)) => {
            content.resize(*len as usize, 0);
            node.modified = None;
        }
        (Action::Mode { mode, .. }, _) => node.mode = *mode,
        (Action::Owner { uid, gid, .. }, body) => {
            if body.kind() != Kind::Directory {
                node.mode &= !SET_USER_ID;
                // Without execution by the group the bit once meant mandatory locks, and stays.
                node.mode &= if node.mode & GROUP_EXECUTES == 0 { !0 } else { !SET_GROUP_ID };
            }
            (node.uid, node.gid) = (*uid, *gid);
        }
        (Action::Modified { seconds, nanos, .. }, _) => node.modified = Some((*seconds, *nanos)),
        _ => return Err(Errno::INVAL),
    }
    Ok(Outcome::Done)
}

fn with_xattrs(node: &mut Node, action: &Action) -> Result<Outcome, Errno> {
    // Attributes of users are for what has contents of its own.
    let is_closed = |name: &str| matches!(node.body, Body::Socket) && name.starts_with("user.");
    match action {
        Action::SetXattr { name, value, how, .. } => match (node.xattrs.contains_key(name), how) {
            _ if is_closed(name) => Err(Errno::PERM),
            (true, SetHow::Create) => Err(Errno::EXIST),
            (false, SetHow::Replace) => Err(Errno::NODATA),
            _ => {
                node.xattrs.insert(name.clone(), value.clone());
                Ok(Outcome::Done)
            }
        },
        Action::GetXattr { name, .. } => {
            node.xattrs.get(name).cloned().map(Outcome::Bytes).ok_or(Errno::NODATA)
        }
        Action::ListXattrs { .. } => Ok(Outcome::Names(node.xattrs.keys().cloned().collect())),
        Action::RemoveXattr { name, .. } if is_closed(name) => Err(Errno::PERM),
        Action::RemoveXattr { name, .. } => {
            node.xattrs.remove(name).map(|_| Outcome::Done).ok_or(Errno::NODATA)
        }
        _ => Err(Errno::INVAL),
    }
}
