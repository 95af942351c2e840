//! cargo builds workspaces on two mounts, again after changes and both at once, and their programs run from there.

use std::fs;
use std::path::Path;
use std::process::Command;

use weft_conformance::{Mounts, Running, is_long};
use weft_e2e::{Cluster, Outcome, run};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// Three crates without dependencies elsewhere: a library of some hundred functions, one on top, a program.
fn generate(folder: &Path) {
    write(folder, "Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"base\", \"middle\", \"top\"]\n");
    let manifest = |name: &str, below: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{below}\n"
        )
    };
    write(folder, "base/Cargo.toml", &manifest("base", ""));
    write(folder, "middle/Cargo.toml", &manifest("middle", "base = { path = \"../base\" }"));
    write(folder, "top/Cargo.toml", &manifest("top", "middle = { path = \"../middle\" }"));
    write_base(folder, 1);
    write(
        folder,
        "middle/src/lib.rs",
        "pub fn total() -> u64 { (0..200).map(base::value).sum() }\n\
        #[cfg(test)]\nmod tests { #[test]\nfn adds() { assert!(super::total() > 0); } }\n",
    );
    write(folder, "top/src/main.rs", "fn main() { println!(\"{}\", middle::total()); }\n");
}

fn write_base(folder: &Path, factor: u64) {
    let functions = (0..200).map(|n| format!("pub fn f{n}(x: u64) -> u64 {{ x * {factor} + {n} }}\n"));
    let arms = (0..200).map(|n| format!("{n} => f{n}(x), "));
    let (functions, arms) = (functions.collect::<String>(), arms.collect::<String>());
    let source = format!("{functions}pub fn value(x: u64) -> u64 {{ match x {{ {arms} _ => 0 }} }}\n");
    write(folder, "base/src/lib.rs", &source);
}

#[track_caller]
fn cargo(folder: &Path, arguments: &[&str]) -> Outcome {
    run(&mut cargo_command(folder, arguments)).success()
}

fn cargo_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).arg("--offline").current_dir(folder);
    // What the tests were started with is about another workspace.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" || text.starts_with("RUSTFLAGS") {
            command.env_remove(&name);
        }
    }
    command
}

#[test]
fn a_workspace_is_built_tested_changed_and_built_again() {
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster).folder("project");
    generate(&mounts.a);
    let sum = |factor: u64| (0..200).map(|n| n * factor + n).sum::<u64>().to_string();
    let built = |folder: &Path| run(&mut Command::new(folder.join("target/debug/top"))).success().stdout;
    cargo(&mounts.a, &["build", "-q"]);
    assert_eq!(built(&mounts.b).trim(), sum(1));
    for factor in 2..4 {
        write_base(&mounts.b, factor);
        cargo(&mounts.a, &["build", "-q"]);
        assert_eq!(built(&mounts.b).trim(), sum(factor), "what was changed is seen and built");
    }
    let fresh = cargo(&mounts.b, &["build"]).stderr;
    assert!(!fresh.contains("Compiling"), "nothing changed, and it is built again: {fresh}");
    cargo(&mounts.b, &["test", "-q"]);
}

/// This project itself, with what it depends on, built on one mount while the other one builds another part of it into the same
/// folder: cargo's own locks keep them apart, and what one has built the other does not build again.
#[test]
fn this_project_is_built_on_two_mounts_at_once() {
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster).folder("weft");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for part in ["Cargo.toml", "Cargo.lock", "backend", "client", "gateway", "protocol", "security", "tests"]
    {
        run(Command::new("cp").arg("-r").arg(project.join(part)).arg(&mounts.b)).success();
    }
    let (how, one, other) =
        if is_long() { ("build", "weft-layout", "weft-meta") } else { ("check", "weft-types", "weft-house") };
    let start = |folder: &Path, part: &str| {
        Running::start(&mut cargo_command(folder, &[how, "-q", "--locked", "-p", part]))
    };
    let both = [start(&mounts.a, one), start(&mounts.b, other)];
    both.into_iter().for_each(Running::finish);
    for (folder, part) in [(&mounts.b, one), (&mounts.a, other)] {
        let again = cargo(folder, &[how, "--locked", "-p", part]).stderr;
        assert!(
            !again.contains("Compiling") && !again.contains("Checking"),
            "{part} is built again on {}: {again}",
            folder.display()
        );
    }
}
