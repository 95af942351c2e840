use super::*;

fn options(create: Option<u64>) -> OpenOptions {
    OpenOptions { create, ..OpenOptions::default() }
}

/// What was written is read again, however the bytes travel.
fn assert_serves(device: &dyn Device) {
    device.write_at(&[5; 8192], 4096).expect("written");
    device.flush().expect("flushed");
    device.punch(4096..8192).expect("punched");
    let mut bytes = [9; 4];
    device.read_at(&mut bytes, 8190).expect("read");
    assert_eq!(bytes, [0, 0, 5, 5]);
    let (sender, outcome) = std::sync::mpsc::channel();
    device.read_then(8190..8194, Box::new(move |read| sender.send(read).expect("waits")));
    assert_eq!(&outcome.recv().expect("told").expect("read")[..], [0, 0, 5, 5]);
}

#[test]
fn a_file_is_served_directly_or_with_a_warning() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("device");
    let opened = open(&path, &options(Some((1 << 20) + 100))).expect("created");
    assert_eq!(opened.device.size(), 1 << 20, "whole blocks");
    assert_eq!(opened.warning.is_none(), opened.mode == IoMode::Direct, "{:?}", opened.warning);
    assert_eq!(opened.device.block(), if opened.mode == IoMode::Direct { 4096 } else { 1 });
    assert_serves(&*opened.device);

    assert!(matches!(open(&path, &options(None)), Err(OpenDeviceError::InUse(_))));
    drop(opened);
    let again = open(&path, &options(None)).expect("opens as soon as it was let go");
    let mut bytes = [0; 2];
    again.device.read_at(&mut bytes, 8191).expect("read");
    assert_eq!(bytes, [0, 5]);
    drop(again);
    let error = open(&path, &options(Some(4096))).expect_err("it exists");
    assert!(matches!(error, OpenDeviceError::Io { .. }));
}

#[test]
fn both_modes_give_the_same_size_and_bytes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("device");
    let buffered = OpenOptions { direct: false, create: Some((1 << 20) + 5), ..OpenOptions::default() };
    let opened = open(&path, &buffered).expect("created");
    assert_eq!((opened.mode, opened.warning), (IoMode::Buffered, None), "as was asked for");
    assert_serves(&*opened.device);
    assert_eq!(opened.device.size(), 1 << 20);
    opened.device.write_at(&[1], 1 << 20).expect_err("past the end");
    drop(opened.device);
    let opened = open(&path, &options(None)).expect("opens");
    assert_eq!(opened.device.size(), 1 << 20);
    let mut bytes = [0; 2];
    opened.device.read_at(&mut bytes, 8191).expect("read");
    assert_eq!(bytes, [0, 5]);
}

#[test]
fn a_host_that_refuses_direct_io_is_told_of() {
    // A filesystem of the kernel's own that has no direct IO.
    let file = File::open("/proc/self/status").expect("opens");
    let Err(refused) = direct(&file, 4096, "test", STALL_AFTER) else { panic!("it has no direct IO") };
    assert!(refused.what.starts_with("direct IO"), "{}", refused.what);
    assert!(!fcntl_getfl(&file).expect("flags").contains(OFlags::DIRECT), "buffered as before");
}

#[test]
fn what_is_no_medium_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("made");
    for path in [dir.path(), &fifo, Path::new("/dev/null")] {
        assert!(
            matches!(open(path, &options(None)), Err(OpenDeviceError::Unsuitable(_))),
            "{}",
            path.display()
        );
    }
    let missing = open(&dir.path().join("missing"), &options(None)).expect_err("missing");
    assert!(
        matches!(missing, OpenDeviceError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    );
}

/// A block device over a file, where this host lets us have one.
struct Loop(String);

impl Loop {
    fn over(path: &Path) -> Option<Self> {
        let made =
            std::process::Command::new("losetup").args(["--find", "--show"]).arg(path).output().ok()?;
        made.status.success().then(|| Self(String::from_utf8_lossy(&made.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_served_and_nobody_elses() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("backing");
    File::create(&path).and_then(|file| file.set_len((1 << 20) + 512)).expect("made");
    let Some(block) = Loop::over(&path) else { return };
    let opened = open(Path::new(&block.0), &options(None)).expect("opens");
    assert_eq!(opened.device.size(), 1 << 20);
    assert_serves(&*opened.device);
    assert!(matches!(open(Path::new(&block.0), &options(None)), Err(OpenDeviceError::InUse(_))));
    drop(opened);
    let buffered = OpenOptions { direct: false, ..OpenOptions::default() };
    let opened = open(Path::new(&block.0), &buffered).expect("opens as soon as it was let go");
    assert_serves(&*opened.device);
}
