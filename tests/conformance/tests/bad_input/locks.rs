//! Lock ranges that cannot be, and locks that the descriptor is not open for.
//!
//! The ranges of fcntl locks are the one thing here that is asked for by python: no safe interface has them.

use std::path::Path;

use rustix::io::Errno;
use weft_e2e::{program, run};

use crate::Row;

/// Asks for a lock of a type on a range; prints the errno, 0 when it was given.
const LOCK: &str = r#"
import fcntl, os, struct, sys
path, flags, kind, whence, start, length = sys.argv[1], *map(int, sys.argv[2:])
file = os.open(path, flags)
try:
    fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, whence, start, length, 0))
    print(0)
except OSError as error:
    print(error.errno)
"#;

const O_RDONLY: &str = "0";
const O_WRONLY: &str = "1";
const O_RDWR: &str = "2";
const F_RDLCK: &str = "0";
const F_WRLCK: &str = "1";
const SEEK_SET: &str = "0";
const SEEK_END: &str = "2";
const MOST: &str = "9223372036854775807";

fn lock(folder: &Path, arguments: [&str; 5]) -> Result<(), Errno> {
    let path = folder.join("f").to_string_lossy().into_owned();
    let mut command = program("python3", &["-c", LOCK, &path]);
    let outcome = run(command.args(arguments)).success();
    match outcome.stdout.trim().parse().expect("an errno") {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

pub(crate) const ROWS: [Row; 7] = [
    ("lock before the start", |f| lock(f, [O_RDWR, F_WRLCK, SEEK_SET, "-1", "1"]), Errno::INVAL),
    ("lock backwards over the start", |f| lock(f, [O_RDWR, F_WRLCK, SEEK_SET, "3", "-4"]), Errno::INVAL),
    ("lock over the largest offset", |f| lock(f, [O_RDWR, F_WRLCK, SEEK_SET, MOST, "2"]), Errno::OVERFLOW),
    (
        "lock from the end over the largest offset",
        |f| lock(f, [O_RDWR, F_WRLCK, SEEK_END, MOST, "1"]),
        Errno::OVERFLOW,
    ),
    ("lock of no type", |f| lock(f, [O_RDWR, "9", SEEK_SET, "0", "1"]), Errno::INVAL),
    (
        "write lock on what is open for reading",
        |f| lock(f, [O_RDONLY, F_WRLCK, SEEK_SET, "0", "1"]),
        Errno::BADF,
    ),
    (
        "read lock on what is open for writing",
        |f| lock(f, [O_WRONLY, F_RDLCK, SEEK_SET, "0", "1"]),
        Errno::BADF,
    ),
];
