//! `litmus A B ROUNDS [SEED]`: two folders, the same one on two mounts, how many changes to look at, and their choice.

use std::path::PathBuf;
use std::process::ExitCode;

use weft_conformance::{Mounts, litmus};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (a, b, rounds, seed) = match arguments.as_slice() {
        [a, b, rounds] => (a, b, rounds.parse(), Ok(1)),
        [a, b, rounds, seed] => (a, b, rounds.parse(), seed.parse()),
        _ => return usage(),
    };
    let (Ok(rounds), Ok(seed)) = (rounds, seed) else { return usage() };
    match litmus::run(&Mounts { a: PathBuf::from(a), b: PathBuf::from(b) }, rounds, seed) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: litmus A B ROUNDS [SEED]\nA and B are one empty folder as two mounts show it");
    ExitCode::from(2)
}
