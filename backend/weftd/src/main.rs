//! Runs a container of drive, compute and management processes from a JSON file.

fn main() {}
