//! Making a change of a directory durable.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes created, renamed and removed names of a directory durable.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
