//! Pure: the key hierarchy, sealing of blocks and rows, wrapping.
