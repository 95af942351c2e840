//! Pure: the JSON resource files and the folder layout of a cluster on one host.
