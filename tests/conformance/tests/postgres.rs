//! PostgreSQL keeps its promises when its server is killed in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use weft_conformance::{Running, is_long, open_to_others, shell};
use weft_e2e::{Cluster, Outcome, run, wait_until};

/// Where Debian has the server's programs, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A server with its data on the mount and its socket beside the cluster, run by the user `postgres`.
struct Server {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
}

impl Server {
    fn prepared(cluster: &Cluster) -> Self {
        let versions = fs::read_dir(VERSIONS).expect("not installed: run `make test-packages` first");
        let programs = versions.flatten().map(|version| version.path().join("bin")).max().expect("a version");
        let server =
            Self { programs, data: cluster.mount().join("pg"), socket: cluster.scratch().join("pg") };
        open_to_others(&cluster.mount());
        for folder in [&server.data, &server.socket] {
            fs::create_dir(folder).expect("made");
            shell(
                cluster.scratch(),
                r#"chown postgres:postgres "$1" && chmod 700 "$1""#,
                &[&folder.to_string_lossy()],
            );
        }
        server
    }

    /// A program of PostgreSQL as its user; `setpriv` becomes the program, so that its pid is the server's.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "env", "LC_ALL=C"]);
        command.arg(self.programs.join(name)).args(arguments).current_dir(&self.socket);
        command.env("PGHOST", &self.socket).env("PGDATA", &self.data).env("PGUSER", "postgres");
        command.env("PGDATABASE", "postgres");
        command
    }

    #[track_caller]
    fn run(&self, name: &str, arguments: &[&str]) -> Outcome {
        run(&mut self.command(name, arguments)).success()
    }

    fn start(&self) -> Running {
        let socket = format!("unix_socket_directories={}", self.socket.display());
        let settings =
            ["-c", "listen_addresses=", "-c", "fsync=on", "-c", "logging_collector=off", "-c", &socket];
        let running = Running::start(self.command("postgres", &settings).stderr(std::process::Stdio::null()));
        // Recovery reads what was not checkpointed.
        wait_until("the server is ready", Duration::from_secs(120), || {
            (run(&mut self.command("pg_isready", &[])).code == 0).then_some(())
        });
        running
    }

    #[track_caller]
    fn ask(&self, question: &str) -> String {
        self.run("psql", &["-XAtqc", question]).stdout.trim().to_owned()
    }

    fn transactions(&self) -> u64 {
        self.ask("select count(*) from pgbench_history").parse().expect("a number")
    }

    /// Every transaction of pgbench adds the same to an account, a teller, a branch and the history.
    fn verify(&self) {
        let sums = "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), \
                    (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)";
        let sums = self.ask(sums);
        let mut parts = sums.split('|');
        let first = parts.next().expect("a sum");
        assert!(parts.all(|sum| sum == first), "the sums differ: {sums}");
        self.run("pg_amcheck", &["--install-missing", "--heapallindexed", "postgres"]);
    }
}

fn load(server: &Server, seconds: &str) -> Running {
    let mut command = server.command("pgbench", &["-c", "4", "-T", seconds, "-n"]);
    Running::start(command.stderr(std::process::Stdio::null()))
}

/// Kills the server under load once so many transactions came; what was seen before the kill must be there after it.
fn killed_under_load(server: &Server, postgres: Running) -> Running {
    let before = server.transactions();
    let load = load(server, "600");
    let seen = wait_until("transactions are done", Duration::from_secs(120), || {
        Some(server.transactions()).filter(|count| *count >= before + 200)
    });
    postgres.kill();
    drop(load);
    let postgres = server.start();
    let found = server.transactions();
    assert!(found >= seen, "{seen} transactions were seen, {found} are left");
    server.verify();
    postgres
}

fn stop(server: &Server, postgres: Running) {
    server.run("pg_ctl", &["stop", "-m", "fast", "-t", "120"]);
    postgres.finish();
    server.run("pg_checksums", &["--check"]);
}

#[test]
fn a_killed_server_recovers_what_was_committed() {
    let cluster = Cluster::up();
    let server = Server::prepared(&cluster);
    server.run("initdb", &["--auth=trust", "--data-checksums", "--username=postgres"]);
    let mut postgres = server.start();
    server.run("pgbench", &["-i", "-q", "-s", "1"]);
    load(&server, if is_long() { "60" } else { "5" }).finish();
    println!("pgbench: {} transactions", server.transactions());
    for _ in 0..if is_long() { 10 } else { 1 } {
        postgres = killed_under_load(&server, postgres);
    }
    stop(&server, postgres);
    assert!(is_empty(&server.socket), "the server has ended");
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("listed").next().is_none()
}
