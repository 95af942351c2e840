//! Golden bytes, laid out as the structures of `<linux/fuse.h>`, and bytes that are none.

mod answers;
mod requests;
