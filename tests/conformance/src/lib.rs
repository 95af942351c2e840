//! What the conformance tests stand on: a pure model of POSIX files and directories, the same operations done for real,
//! the published suites, and processes that end with the test that started them.

pub mod direct;
pub mod exceptions;
pub mod litmus;
pub mod load;
pub mod model;
pub mod real;

mod guard;
mod mapping;
mod mounts;
mod software;
mod suites;

pub use guard::Running;
pub use mapping::Mapping;
pub use mounts::{Mounts, open_to_others};
pub use software::{needs, shell};
pub use suites::{is_long, suite};
