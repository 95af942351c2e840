use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::MemoryDevice;

const SIZE: u64 = 8 << 20;

/// `None` where this host refuses direct IO or a ring; that [`open`](crate::open) then falls back is tested there.
fn device() -> Option<(tempfile::TempDir, UringDevice)> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("device");
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).custom_flags(direct).open(path);
    let file = file.ok()?;
    file.set_len(SIZE).expect("grown");
    Some((dir, UringDevice::start(file, SIZE, "test", Duration::from_secs(10)).ok()?))
}

fn read_then(device: &dyn Device, range: Range<u64>) -> io::Result<Bytes> {
    let (sender, outcome) = mpsc::channel();
    device.read_then(range, Box::new(move |read| sender.send(read).expect("waits")));
    let read = outcome.recv().expect("told");
    assert!(outcome.recv().is_err(), "told once");
    read
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize, u8),
    Punch(u64, u64),
    Flush,
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0_usize..5000, 0_usize..3_000_000];
    prop_oneof![
        3 => (0_u64..SIZE / 4096 + 2, 0_usize..700, any::<u8>()).prop_map(|(at, blocks, fill)| Step::Write(at * 4096, blocks * 4096, fill)),
        1 => (0_u64..SIZE, 1_usize..5000, any::<u8>()).prop_map(|(at, len, fill)| Step::Write(at, len, fill)),
        1 => (0_u64..SIZE, 0_u64..3_000_000).prop_map(|(at, len)| Step::Punch(at, at + len)),
        1 => Just(Step::Flush),
        4 => (0_u64..SIZE, len).prop_map(|(at, len)| Step::Read(at, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_does_what_memory_does(steps in prop::collection::vec(step(), 1..30)) {
        let Some((_dir, device)) = device() else { return Ok(()) };
        let model = MemoryDevice::new(SIZE as usize).with_block(4096);
        let kinds = |a: io::Result<()>, b: io::Result<()>| (a.map_err(|e| e.kind()), b.map_err(|e| e.kind()));
        for step in steps {
            let (real, expected) = match step {
                Step::Write(at, len, fill) => {
                    let bytes: Vec<u8> = (0..len).map(|i| fill ^ (i / 512) as u8).collect();
                    let inside = at + len as u64 <= SIZE;
                    if inside { kinds(device.write_at(&bytes, at), model.write_at(&bytes, at)) } else {
                        device.write_at(&bytes, at).expect_err("past the end");
                        continue;
                    }
                }
                Step::Punch(start, end) if end <= SIZE => kinds(device.punch(start..end), model.punch(start..end)),
                Step::Punch(start, end) => {
                    device.punch(start..end).expect_err("past the end");
                    continue;
                }
                Step::Flush => kinds(device.flush(), model.flush()),
                Step::Read(at, len) => {
                    let (mut read, mut expected) = (vec![0; len], vec![0; len]);
                    let outcome = kinds(device.read_at(&mut read, at), model.read_at(&mut expected, at));
                    prop_assert_eq!(&read, &expected);
                    let range = at..at + len as u64;
                    let then = (read_then(&device, range.clone()), read_then(&model, range));
                    prop_assert_eq!(then.0.map_err(|e| e.kind()), then.1.map_err(|e| e.kind()));
                    outcome
                }
            };
            prop_assert_eq!(real, expected);
        }
        let mut bytes = vec![0; SIZE as usize];
        device.read_at(&mut bytes, 0).expect("read");
        prop_assert!(bytes == model.bytes());
        prop_assert_eq!(device.counters(), IoCounters::default());
    }
}

#[test]
fn many_threads_at_once_get_their_own_bytes() {
    let Some((_dir, device)) = device() else { return };
    let device = Arc::new(device);
    thread::scope(|scope| {
        for lane in 0..8_u64 {
            let device = Arc::clone(&device);
            scope.spawn(move || {
                let (told, outcomes) = mpsc::channel();
                for round in 0..40_u64 {
                    let at = (round * 8 + lane) * 4096;
                    device.write_at(&[(lane * 31 + round) as u8; 4096], at).expect("written");
                    let told = told.clone();
                    let done = move |read: io::Result<Bytes>| told.send((round, read)).expect("waits");
                    device.read_then(at + 7..at + 4000, Box::new(done));
                }
                device.flush().expect("flushed");
                drop(told);
                let mut rounds = 0;
                for (round, read) in outcomes {
                    assert_eq!(read.expect("read"), vec![(lane * 31 + round) as u8; 3993]);
                    rounds += 1;
                }
                assert_eq!(rounds, 40);
            });
        }
    });
}

#[test]
fn only_memory_is_read_at_once_and_a_write_keeps_to_blocks() {
    let Some((_dir, device)) = device() else { return };
    match device.read_at_once(&mut [0; 8], 0) {
        Ok(()) => assert!(device.in_memory),
        Err(error) => assert!(!device.in_memory && error.kind() == io::ErrorKind::WouldBlock),
    }
    for (len, at) in [(512, 0), (4096, 512), (4097, 4096)] {
        let error = device.write_at(&vec![1; len], at).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{len} at {at}");
    }
    assert_eq!(device.counters(), IoCounters::default(), "the medium did nothing wrong");
}

/// A device over the reading end of a pipe: its reads wait until something is written.
fn pipe(stall_after: Duration) -> Option<(io::PipeWriter, UringDevice)> {
    let (reader, writer) = io::pipe().expect("pipe");
    let file = File::from(std::os::fd::OwnedFd::from(reader));
    Some((writer, UringDevice::start(file, SIZE, "test", stall_after).ok()?))
}

#[test]
fn a_read_that_stalls_is_given_up_and_its_buffer_stays_the_kernels() {
    use std::io::Write;
    let Some((mut writer, device)) = pipe(Duration::from_millis(30)) else { return };
    assert_eq!(device.read_at(&mut [0; 4096], 0).expect_err("too long").kind(), io::ErrorKind::TimedOut);
    assert_eq!(read_then(&device, 0..100).expect_err("too long").kind(), io::ErrorKind::TimedOut);
    assert!(device.stalled());
    assert_eq!(device.counters(), IoCounters { errors: 2, stalls: 2, stuck: 2 });

    // What the kernel fills late is nobody's: a buffer that is taken now is another one.
    let fresh = device.pool.take(4096);
    let before = fresh.as_slice().to_vec();
    writer.write_all(&[0xAB; 8192]).expect("written");
    while device.stalled() {
        thread::yield_now();
    }
    assert_eq!(fresh.as_slice(), before);
    drop(fresh);
    writer.write_all(&[0xCD; 4096]).expect("written");
    let mut bytes = [0; 4096];
    device.read_at(&mut bytes, 0).expect("it goes on");
    assert_eq!(bytes, [0xCD; 4096]);
}

#[test]
fn a_read_that_comes_in_parts_is_continued_and_an_end_is_an_error() {
    use std::io::Write;
    let Some((mut writer, device)) = pipe(Duration::from_secs(10)) else { return };
    let (sender, outcome) = mpsc::channel();
    device.read_then(4090..12_288, Box::new(move |read| sender.send(read).expect("waits")));
    // A pipe gives what it has.
    writer.write_all(&[1; 4096]).expect("written");
    writer.write_all(&[2; 4096]).expect("written");
    writer.write_all(&[3; 4096]).expect("written");
    let read = outcome.recv().expect("told").expect("read");
    assert_eq!((read.len(), &read[..7]), (8198, &[1, 1, 1, 1, 1, 1, 2][..]));
    assert_eq!((read[4101], read[4102], read[8197]), (2, 3, 3));
    drop(writer);
    assert_eq!(device.read_at(&mut [0; 4096], 0).expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(device.counters(), IoCounters { errors: 1, stalls: 0, stuck: 0 });
}

#[test]
fn a_device_is_closed_also_while_an_io_is_stuck() {
    let Some((writer, device)) = pipe(Duration::from_millis(30)) else { return };
    device.read_at(&mut [0; 4096], 0).expect_err("too long");
    drop(device);
    drop(writer);
}

#[test]
fn errors_of_the_medium_are_told() {
    // A directory reads as one.
    let file = File::open("/").expect("opens");
    let Ok(device) = UringDevice::start(file, SIZE, "test", Duration::from_secs(10)) else { return };
    assert_eq!(device.read_at(&mut [0; 4096], 0).expect_err("refused").kind(), io::ErrorKind::IsADirectory);
    device.write_at(&[0; 4096], 0).expect_err("refused");
    device.flush().expect("a directory has something to flush");
    assert_eq!(device.counters(), IoCounters { errors: 2, stalls: 0, stuck: 0 });
}
