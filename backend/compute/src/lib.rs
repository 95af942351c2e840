//! Owns metadata shards and serves meta over QUIC; reclaims dead extents.
