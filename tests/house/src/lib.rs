//! Holds the house against its plan: arrows between crates, sizes of rooms, words left behind.
//!
//! The plan is written here once; the tests read the manifests and the sources as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How far up a crate stands. A crate depends only on crates of a lower layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Ids, units, epochs.
    Facts,
    /// Decides and transforms; knows no runtime, socket, file, clock or random source.
    PureCore,
    /// A pure core that builds on another pure core.
    PureCoreAbove,
    /// Performs effects: files, sockets, devices.
    Shell,
    /// A shell that builds on another shell.
    ShellAbove,
    /// A process's main part, put together from shells.
    Process,
    /// An executable.
    Binary,
    /// Looks at all the others.
    Test,
}

/// A crate's place: its folder's first name and its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Top-level folder.
    pub wing: &'static str,
    /// How far up it stands.
    pub layer: Layer,
}

/// The plan: every crate of the workspace and where it stands.
pub const PLAN: [(&str, Room); 28] = [
    ("weft-types", room("protocol", Layer::Facts)),
    ("weft-layout", room("protocol", Layer::PureCore)),
    ("weft-wire", room("protocol", Layer::PureCoreAbove)),
    ("weft-resources", room("protocol", Layer::PureCore)),
    ("weft-transport", room("protocol", Layer::ShellAbove)),
    ("weft-watch", room("protocol", Layer::Shell)),
    ("weft-keys", room("security", Layer::PureCore)),
    ("weft-kms", room("security", Layer::Shell)),
    ("weft-pki", room("security", Layer::Shell)),
    ("weft-device", room("backend", Layer::Shell)),
    ("weft-drive", room("backend", Layer::Process)),
    ("weft-meta", room("backend", Layer::PureCoreAbove)),
    ("weft-leases", room("backend", Layer::PureCoreAbove)),
    ("weft-locks", room("backend", Layer::PureCoreAbove)),
    ("weft-engine", room("backend", Layer::Shell)),
    ("weft-compute", room("backend", Layer::Process)),
    ("weft-management", room("backend", Layer::Process)),
    ("weftd", room("backend", Layer::Binary)),
    ("weft-core", room("client", Layer::Process)),
    ("weft-fusedev", room("client", Layer::Shell)),
    ("weft-fuse", room("client", Layer::Process)),
    ("weft-bench", room("client", Layer::Process)),
    ("weft-cli", room("client", Layer::Binary)),
    ("weft-gateway", room("gateway", Layer::Binary)),
    ("weft-house", room("tests", Layer::Test)),
    ("weft-e2e", room("tests", Layer::Test)),
    ("weft-sim", room("tests", Layer::Test)),
    ("weft-conformance", room("tests", Layer::Test)),
];

/// Arrows within one layer that the plan allows: the shell on the left is written against the one on the right.
/// `weft-meta`, `weft-leases` and `weft-locks` build on the messages that they execute, `weft-meta` says what operations need
/// of leases, and `weft-conformance` has its clusters from `weft-e2e`.
pub const SIDEWAYS: [(&str, &str); 6] = [
    ("weft-fuse", "weft-core"),
    ("weft-meta", "weft-wire"),
    ("weft-meta", "weft-leases"),
    ("weft-leases", "weft-wire"),
    ("weft-locks", "weft-wire"),
    ("weft-conformance", "weft-e2e"),
];

/// Which wings a wing may build on, besides itself.
pub const WINGS: [(&str, &[&str]); 6] = [
    ("protocol", &["security"]),
    ("security", &["protocol"]),
    ("backend", &["protocol", "security"]),
    ("client", &["protocol", "security"]),
    ("gateway", &["protocol", "security", "client"]),
    ("tests", &["protocol", "security", "backend", "client", "gateway"]),
];

const fn room(wing: &'static str, layer: Layer) -> Room {
    Room { wing, layer }
}

/// The place of a crate in the plan.
pub fn planned(name: &str) -> Option<Room> {
    PLAN.iter().find(|(planned, _)| *planned == name).map(|(_, room)| *room)
}

/// Why an arrow from one crate to another runs against the plan; `None` when it does not.
pub fn arrow_fault(from: &str, to: &str) -> Option<String> {
    let (Some(tail), Some(head)) = (planned(from), planned(to)) else {
        return Some(format!("{from} -> {to}: not both in the plan"));
    };
    let may = |(wing, below): &(&str, &[&str])| *wing == tail.wing && below.contains(&head.wing);
    if tail.wing != head.wing && !WINGS.iter().any(may) {
        return Some(format!("{from} -> {to}: {} does not build on {}", tail.wing, head.wing));
    }
    if head.layer >= tail.layer && !SIDEWAYS.contains(&(from, to)) {
        return Some(format!("{from} ({:?}) -> {to} ({:?}): runs back", tail.layer, head.layer));
    }
    None
}

/// The workspace as its manifests describe it: for each crate its folder and what it depends on outside of tests.
pub struct Workspace {
    /// The folder of the root manifest.
    pub root: PathBuf,
    /// Crate name to its folder.
    pub folders: BTreeMap<String, PathBuf>,
    /// Crate name to the names of its dependencies, dev-dependencies left out.
    pub arrows: BTreeMap<String, Vec<String>>,
}

/// Every `.rs` file below a folder, build output and tests' data left out.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the project is readable") {
            let path = entry.expect("a folder's entry is readable").path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A source file without its tests: up to the first `#[cfg(test)]`.
pub fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().unwrap_or(source)
}
