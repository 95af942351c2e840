//! A pure model of POSIX files and directories, as root sees them on Linux.
//!
//! It says of each operation what must come of it: names, kinds, attributes, contents, links, extended attributes, files
//! that are open and have no name, and for what is refused the one errno. Permissions are not in it (root is asked about
//! everything); times are as far as they were set.

mod actions;
mod inodes;
mod names;
mod strategy;
mod tree;

#[cfg(test)]
mod tests;

pub use actions::{Access, Action, Attributes, Kind, Open, Outcome, RenameHow, SetHow, Side, Step, pattern};
pub use strategy::steps;
pub use tree::Id;

use std::collections::BTreeMap;

use tree::{Body, Node, Tree};

/// Descriptors that a sequence of steps has.
pub const SLOTS: usize = 4;

/// An open file.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    node: Id,
    access: Access,
    append: bool,
}

/// What is there, and what is open.
#[derive(Debug, Clone)]
pub struct Model {
    tree: Tree,
    slots: [Option<Descriptor>; SLOTS],
}

impl Default for Model {
    fn default() -> Self {
        Self { tree: Tree::new(), slots: [None; SLOTS] }
    }
}

impl Model {
    /// Does what a step says, and tells what must come of it. From which side it is done makes no difference: that is
    /// what two mounts are held against.
    pub fn apply(&mut self, action: &Action) -> Outcome {
        self.attempt(action).unwrap_or_else(|errno| Outcome::Refused(errno.raw_os_error()))
    }

    /// Every path with what it leads to, parents first.
    pub fn paths(&self) -> Vec<(String, Id)> {
        self.tree.paths()
    }

    /// The kind of what a path of [`paths`](Self::paths) leads to.
    pub fn kind(&self, id: Id) -> Kind {
        self.tree.node(id).body.kind()
    }

    /// The names of the extended attributes of what a path of [`paths`](Self::paths) leads to.
    pub fn xattrs(&self, id: Id) -> &BTreeMap<String, Vec<u8>> {
        &self.tree.node(id).xattrs
    }
}
