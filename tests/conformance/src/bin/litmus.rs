//! `litmus A B ROUNDS`: two folders, the same one on two mounts, and how many changes to look at.

use std::path::PathBuf;
use std::process::ExitCode;

use weft_conformance::{Mounts, litmus};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [a, b, rounds] = arguments.as_slice() else { return usage() };
    let Ok(rounds) = rounds.parse() else { return usage() };
    match litmus::run(&Mounts { a: PathBuf::from(a), b: PathBuf::from(b) }, rounds) {
        Ok(report) => {
            println!("{} rounds, {:.0} a second, no old answer", report.rounds, report.rate());
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: litmus A B ROUNDS\nA and B are one empty folder as two mounts show it");
    ExitCode::from(2)
}
