//! Key management services that wrap the keys of a cluster.
