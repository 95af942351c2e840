//! Pure: inodes, dentries, extents and sessions as operations on a transaction.
