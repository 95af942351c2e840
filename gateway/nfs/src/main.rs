//! The command `weft-gateway`: the NFS gateway over core.

fn main() {}
