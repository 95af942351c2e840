//! SQLite's databases stay whole and keep what was committed while their writers are killed.

use std::path::Path;
use std::process::Command;

use weft_conformance::{Mounts, Running, is_long, needs};
use weft_e2e::{Cluster, Random, program, run, seed_of_this_run};

/// Moves money between accounts and logs each move in the same transaction; says so once the commit has returned.
const WRITER: &str = r#"
import random, sqlite3, sys, time
path, mode, writer, first = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, timeout=120, isolation_level=None)
db.execute("pragma journal_mode = " + mode)
db.execute("pragma synchronous = full")
number = first
while True:
    number += 1
    a, b, sum = random.randrange(100), random.randrange(100), random.randrange(1000)
    db.execute("begin immediate")
    db.execute("update account set balance = balance - ? where id = ?", (sum, a))
    db.execute("update account set balance = balance + ? where id = ?", (sum, b))
    db.execute("insert into moves values (?, ?, randomblob(300))", (writer, number))
    db.execute("commit")
    print("committed", number, flush=True)
    # SQLite polls for its locks: who never lets go starves the others.
    time.sleep(random.random() / 50)
"#;

const SCHEMA: &str = "create table account (id integer primary key, balance integer);
    create table moves (writer integer, number integer, filler blob, primary key (writer, number));
    with recursive n(i) as (select 0 union all select i + 1 from n where i < 99) insert into account select i, 1000 from n;";

/// Two writers.
const WRITERS: usize = 2;

/// The folder in which each writer finds the database.
type Folders = [std::path::PathBuf; WRITERS];

#[track_caller]
fn ask(database: &Path, question: &str) -> String {
    let database = database.to_string_lossy();
    run(&mut program("sqlite3", &["-cmd", ".timeout 120000", &database, question]))
        .success()
        .stdout
        .trim()
        .to_owned()
}

fn writers_are_killed(folders: &Folders, mode: &str, random: &mut Random) {
    let database = |writer: usize| folders[writer].join(format!("{mode}.db"));
    ask(&database(0), &format!("pragma journal_mode = {mode}; {SCHEMA}"));
    let mut promised = [0_u64; WRITERS];
    for _ in 0..if is_long() { 25 } else { 2 } {
        let mut running: Vec<_> =
            (0..WRITERS).map(|writer| start(&database(writer), mode, writer, promised[writer])).collect();
        for (writer, running) in running.iter_mut().enumerate() {
            for _ in 0..5 + random.below(10) {
                promised[writer] = committed(&running.line("committed"));
            }
        }
        running.into_iter().for_each(Running::kill);
        for writer in 0..WRITERS {
            verify(&database(writer), &promised);
        }
        // What was committed and not told any more counts from here on as well.
        for (writer, promised) in promised.iter_mut().enumerate() {
            let most = format!("select coalesce(max(number), 0) from moves where writer = {writer}");
            *promised = ask(&database(writer), &most).parse().expect("a number");
        }
    }
    println!("{mode}: {promised:?} transactions");
}

fn start(database: &Path, mode: &str, writer: usize, first: u64) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", WRITER]).arg(database).args([mode, &writer.to_string(), &first.to_string()]);
    Running::start(&mut command)
}

fn committed(line: &str) -> u64 {
    line.trim().rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn verify(database: &Path, promised: &[u64]) {
    assert_eq!(ask(database, "pragma integrity_check"), "ok");
    assert_eq!(ask(database, "select sum(balance) from account"), "100000", "a transfer is all or nothing");
    for (writer, promised) in promised.iter().enumerate() {
        let count = format!("select count(*) from moves where writer = {writer} and number <= {promised}");
        assert_eq!(ask(database, &count), promised.to_string(), "what writer {writer} was promised is there");
    }
}

#[test]
fn a_rollback_journal_survives_its_writers() {
    needs(&["sqlite3", "python3"]);
    let mut random = Random::new(seed_of_this_run());
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    let modes: &[&str] = if is_long() { &["delete", "truncate", "persist"] } else { &["delete"] };
    for mode in modes {
        writers_are_killed(&[mounts.a.clone(), mounts.b.clone()], mode, &mut random);
    }
}

/// The shared memory of a write-ahead log is one mount's.
#[test]
fn a_write_ahead_log_survives_its_writers_on_one_mount() {
    needs(&["sqlite3", "python3"]);
    let mut random = Random::new(seed_of_this_run());
    let cluster = Cluster::up();
    writers_are_killed(&[cluster.mount(), cluster.mount()], "wal", &mut random);
}

/// The shared memory of a write-ahead log is mapped by all who use the database: on two mounts it would be two memories, so the
/// second one is told that it cannot have it, and neither loses anything.
#[test]
fn a_write_ahead_log_across_mounts_fails_loudly() {
    needs(&["sqlite3", "python3"]);
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster);
    let database = |folder: &Path| folder.join("wal.db");
    ask(&database(&mounts.a), &format!("pragma journal_mode = wal; {SCHEMA}"));
    let mut writer = start(&database(&mounts.a), "wal", 0, 0);
    let mut promised = committed(&writer.line("committed"));
    for statement in ["select sum(balance) from account", "insert into moves values (1, 1, 'x')"] {
        let beside = database(&mounts.b);
        let refused = run(&mut program("sqlite3", &[&beside.to_string_lossy(), statement]));
        assert_ne!(refused.code, 0, "two mounts write one log: {statement}: {refused:?}");
        assert!(refused.stderr.contains("rror"), "it is told: {refused:?}");
        for _ in 0..10 {
            promised = committed(&writer.line("committed"));
        }
    }
    writer.kill();
    verify(&database(&mounts.a), &[promised, 0]);
    // Nobody has it mapped any more: the other mount may go on with it.
    verify(&database(&mounts.b), &[promised, 0]);
}
