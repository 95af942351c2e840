//! One file per operation.

pub(crate) mod accessed;
pub(crate) mod allocate;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod copy_range;
pub(crate) mod get_attributes;
pub(crate) mod get_space;
pub(crate) mod get_xattr;
pub(crate) mod link;
pub(crate) mod list_directory;
pub(crate) mod list_xattrs;
pub(crate) mod lookup;
pub(crate) mod make_node;
pub(crate) mod open;
pub(crate) mod read_link;
pub(crate) mod read_map;
pub(crate) mod reap;
pub(crate) mod remove_directory;
pub(crate) mod remove_xattr;
pub(crate) mod rename;
pub(crate) mod set_attributes;
pub(crate) mod set_xattr;
pub(crate) mod unlink;
