//! The filesystem as a library: lookups, reads, writes and caches.
