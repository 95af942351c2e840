//! Tests of the crate as a whole: operations against a model, rules in tables, rows byte by byte.

mod access_lists;
mod compactions;
mod damage;
mod golden;
mod invariants;
mod listing;
mod long_work;
mod maps;
mod memory;
mod model;
mod names;
mod operations;
mod placed;
mod random;
mod renames;
mod row_keys;
mod sessions;
mod sharing;
mod unnamed;
mod world;
mod xattrs;
