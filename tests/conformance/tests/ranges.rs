//! Ranges of files: room that is asked for in advance, holes, copies that share what they copy, and files without a name.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fstat, linkat, seek,
    statvfs,
};
use rustix::io::Errno;
use weft_e2e::Cluster;

const MIB: u64 = 1 << 20;

fn create(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a new file")
}

/// A file of so many bytes of a pattern, on the drives or not yet.
fn filled(path: &Path, len: u64, durable: bool) -> File {
    let file = create(path);
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + 1).collect();
    file.write_all_at(&bytes, 0).expect("written");
    if durable {
        file.sync_all().expect("fsync");
    }
    file
}

fn bytes(file: &File, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    file.read_exact_at(&mut bytes, at).expect("read");
    bytes
}

fn len(file: &File) -> u64 {
    file.metadata().expect("fstat").len()
}

#[test]
fn ranges_are_allocated_emptied_and_zeroed() {
    let cluster = Cluster::up();
    for (name, durable) in [("committed", true), ("dirty", false)] {
        let file = filled(&cluster.mount().join(name), 3 * MIB, durable);
        let whole = bytes(&file, 0, 3 << 20);
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 5 * MIB).expect("allocates");
        assert_eq!(len(&file), 3 * MIB, "{name}: KEEP_SIZE");
        fallocate(&file, FallocateFlags::empty(), MIB, 3 * MIB).expect("allocates");
        assert_eq!(len(&file), 4 * MIB, "{name}: the file grows");
        assert!(bytes(&file, 0, 3 << 20) == whole, "{name}: allocating changes no byte");
        assert_eq!(bytes(&file, 3 * MIB, 100), vec![0; 100], "{name}");

        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, punch, 5000, MIB).expect("punches");
        assert_eq!(bytes(&file, 5000, 1 << 20), vec![0; 1 << 20], "{name}: a hole");
        assert!(bytes(&file, 0, 5000) == whole[..5000], "{name}: before the hole");
        let behind = 5000 + MIB;
        assert!(bytes(&file, behind, 9000) == whole[behind as usize..][..9000], "{name}: behind the hole");

        fallocate(&file, FallocateFlags::ZERO_RANGE, 4 * MIB - 7, 14).expect("zeroes");
        assert_eq!(len(&file), 4 * MIB + 7, "{name}: zeroing grows the file");
        fallocate(&file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, 2 * MIB, 9 * MIB)
            .expect("zeroes");
        assert_eq!(len(&file), 4 * MIB + 7, "{name}: and with KEEP_SIZE not");
        assert_eq!(bytes(&file, 2 * MIB, 1 << 20), vec![0; 1 << 20], "{name}");
        for other in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
            assert_eq!(fallocate(&file, other, 0, MIB), Err(Errno::OPNOTSUPP), "{name}: {other:?}");
        }
        file.sync_all().expect("fsync");
        cluster.forget_caches();
        assert_eq!(bytes(&file, 5000, 1 << 20), vec![0; 1 << 20], "{name}: also when it is read anew");
        assert!(bytes(&file, 0, 5000) == whole[..5000], "{name}");
    }
}

#[test]
fn holes_and_data_are_found() {
    let cluster = Cluster::up();
    for (name, durable) in [("committed", true), ("dirty", false)] {
        let file = create(&cluster.mount().join(name));
        file.set_len(20 * MIB).expect("grows");
        file.write_all_at(&[7; 4096], 5 * MIB).expect("written");
        file.write_all_at(&[7; 4096], 12 * MIB).expect("written");
        if durable {
            file.sync_all().expect("fsync");
        }
        let find = |from| seek(&file, from);
        let first = find(SeekFrom::Data(0)).expect("there is data");
        assert!(first > 4 * MIB && first <= 5 * MIB, "{name}: {first}");
        assert_eq!(find(SeekFrom::Hole(0)), Ok(0), "{name}");
        let hole = find(SeekFrom::Hole(5 * MIB)).expect("there is a hole");
        assert!((5 * MIB + 4096..12 * MIB).contains(&hole), "{name}: {hole}");
        let second = find(SeekFrom::Data(hole)).expect("there is more");
        assert!(second > 6 * MIB && second <= 12 * MIB, "{name}: {second}");
        let last = find(SeekFrom::Hole(12 * MIB)).expect("the end at last");
        assert_eq!(find(SeekFrom::Data(last)), Err(Errno::NXIO), "{name}: nothing but a hole");
        assert_eq!(find(SeekFrom::Hole(20 * MIB)), Err(Errno::NXIO), "{name}: the end");
    }
}

fn copy(from: &File, to: &File, len: u64) {
    let (mut at, mut to_at) = (0, 0);
    while at < len {
        let left = usize::try_from(len - at).expect("a length");
        let copied = copy_file_range(from, Some(&mut at), to, Some(&mut to_at), left).expect("copies");
        assert!(copied > 0, "there is more to copy at {at}");
    }
}

#[test]
fn a_copy_shares_what_it_copies_and_has_its_own_life() {
    const LEN: u64 = 64 * MIB;
    let cluster = Cluster::up();
    let path = |name: &str| cluster.mount().join(name);
    let from = filled(&path("from"), LEN, true);
    let free = || {
        let found = statvfs(cluster.mount()).expect("statvfs");
        found.f_bfree * found.f_frsize
    };
    let before = free();
    let to = create(&path("to"));
    copy(&from, &to, LEN);
    to.sync_all().expect("fsync");
    let used = before.saturating_sub(free());
    assert!(used < LEN / 4, "{used} bytes more are in use for a copy of {LEN}");
    let blocks = fstat(&to).expect("fstat").st_blocks;
    assert_eq!(blocks, fstat(&from).expect("fstat").st_blocks, "each shows what it holds");
    assert!(bytes(&from, 0, LEN as usize) == bytes(&to, 0, LEN as usize), "the same bytes");
    from.write_all_at(&[0xee; 9], MIB).expect("written");
    to.write_all_at(&[0xdd; 9], 2 * MIB).expect("written");
    assert_eq!(
        (bytes(&to, MIB, 9)[0], bytes(&from, 2 * MIB, 9)[0]),
        ((MIB % 251) as u8 + 1, (2 * MIB % 251) as u8 + 1)
    );
    let rest = bytes(&to, 3 * MIB, 1 << 20);
    drop(from);
    fs::remove_file(path("from")).expect("removed");
    cluster.forget_caches();
    assert!(bytes(&to, 3 * MIB, 1 << 20) == rest, "the copy outlives the original");
}

#[test]
fn what_is_not_committed_is_copied_too() {
    let cluster = Cluster::up();
    let from = filled(&cluster.mount().join("from"), 300_000, false);
    let to = create(&cluster.mount().join("to"));
    copy(&from, &to, 300_000);
    assert!(bytes(&from, 0, 300_000) == bytes(&to, 0, 300_000));
    let mut odd = 100_001;
    let copied = copy_file_range(&from, Some(&mut 77), &to, Some(&mut odd), 50_003).expect("copies");
    assert_eq!((copied, odd), (50_003, 150_004));
    assert!(bytes(&to, 100_001, 50_003) == bytes(&from, 77, 50_003));
}

fn unnamed(folder: &Path, flags: OFlags) -> File {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | flags;
    File::from(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o640)).expect("a file without a name"))
}

#[test]
fn a_file_without_a_name_gets_one_or_goes() {
    let cluster = Cluster::up();
    let folder = cluster.mount().join("folder");
    fs::create_dir(&folder).expect("made");
    let file = unnamed(&folder, OFlags::empty());
    file.write_all_at(b"hello", 0).expect("written");
    assert_eq!(file.metadata().expect("fstat").nlink(), 0);
    assert_eq!(fs::read_dir(&folder).expect("listed").count(), 0);
    linkat(&file, "", CWD, folder.join("named"), AtFlags::EMPTY_PATH).expect("by the descriptor");
    drop(file);
    cluster.forget_caches();
    assert_eq!(fs::read(folder.join("named")).expect("read"), b"hello");

    let file = unnamed(&folder, OFlags::empty());
    file.write_all_at(b"again", 0).expect("written");
    let by_proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(CWD, by_proc, CWD, folder.join("second"), AtFlags::SYMLINK_FOLLOW).expect("by /proc");
    let found = fs::metadata(folder.join("second")).expect("stat");
    assert_eq!((found.nlink(), found.mode() & 0o7777), (1, 0o640));
    assert_eq!(fs::read(folder.join("second")).expect("read"), b"again");

    let file = unnamed(&folder, OFlags::EXCL);
    let linked = linkat(&file, "", CWD, folder.join("third"), AtFlags::EMPTY_PATH);
    assert_eq!(linked, Err(Errno::NOENT), "it was to have none");
    drop(file);
    assert_eq!(fs::read_dir(&folder).expect("listed").count(), 2);
    fs::remove_file(folder.join("named")).expect("removed");
    fs::remove_file(folder.join("second")).expect("removed");
    fs::remove_dir(&folder).expect("nothing is left");
}
