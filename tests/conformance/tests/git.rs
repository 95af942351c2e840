//! git commits, pushes, fetches and collects garbage in one repository at once, and nothing is missing afterwards.

use std::path::Path;
use std::process::Command;

use weft_conformance::{Mounts, Running, is_long, needs, shell};
use weft_e2e::{Cluster, Outcome};

/// git as nobody has configured it.
const SETTINGS: &str = r#"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git() {
    command git -c user.name=weft -c user.email=weft@example.org -c gc.auto=0 -c maintenance.auto=false \
        -c core.fsync=all -c pull.rebase=true "$@"
}
"#;

const SET_UP: &str = r#"
git init -q --bare -b main origin
git clone -q origin first 2>/dev/null
cd first; git checkout -q -b main
for n in $(seq 40); do mkdir -p d$((n % 7)); seq $((n * 50)) > d$((n % 7))/f$n; done
git add .; git commit -q -m start; git push -q origin main
cd ..; git clone -q origin second; git clone -q origin reader
"#;

/// Commits in its clone, and pushes on top of what others pushed meanwhile.
const COMMITTER: &str = r#"
cd "$1"
for n in $(seq "$2"); do
    seq $((RANDOM % 3000)) > "$1-$n"; echo "$n" >> "d$((n % 7))/$1"
    git add .; git commit -q -m "$1 $n"
    until git push -q origin HEAD:main 2>/dev/null; do git pull -q --rebase origin main; done
done
"#;

const FETCHER: &str = r#"
cd reader
for n in $(seq "$2"); do git fetch -q origin; git reset -q --hard origin/main; git log --stat -3 > /dev/null; done
"#;

/// What is young stays: git itself says that pruning at once may take what another process is about to use.
const COLLECTOR: &str = r#"
for n in $(seq "$2"); do git -C origin gc -q --prune=1.hour.ago; git -C reader gc -q; git -C first pack-refs --all; done
"#;

#[test]
fn loops_of_commit_fetch_and_gc_leave_a_whole_repository() {
    needs(&["git"]);
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster).folder("git");
    git(&mounts.a, SET_UP, &[]);
    let rounds = if is_long() { 80 } else { 6 };
    let start = |folder: &Path, script: &str, name: &str| {
        let mut command = Command::new("bash");
        command
            .args(["-euc", &format!("{SETTINGS}{script}"), "bash", name, &rounds.to_string()])
            .current_dir(folder);
        Running::start(&mut command)
    };
    let loops = [
        start(&mounts.a, COMMITTER, "first"),
        start(&mounts.b, COMMITTER, "second"),
        start(&mounts.b, FETCHER, "reader"),
        start(&mounts.a, COLLECTOR, "gc"),
    ];
    loops.into_iter().for_each(Running::finish);
    for repository in ["origin", "first", "second", "reader"] {
        let fsck = r#"cd "$1"; git fsck --strict --full --no-dangling 2>&1"#;
        assert_eq!(git(&mounts.a, fsck, &[repository]).stdout, "", "{repository}");
    }
    let count = git(&mounts.b, "git -C origin rev-list --count main", &[]).stdout;
    assert_eq!(count.trim(), (1 + 2 * rounds).to_string(), "every commit is there");
    git(
        &mounts.b,
        "cd first; git fetch -q; git reset -q --hard origin/main; git status --porcelain | wc -l",
        &[],
    );
}

#[track_caller]
fn git(folder: &Path, script: &str, arguments: &[&str]) -> Outcome {
    shell(folder, &format!("{SETTINGS}{script}"), arguments)
}
