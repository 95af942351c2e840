//! The command `weft`: mount, administer.

fn main() {}
