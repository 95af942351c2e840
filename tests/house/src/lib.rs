//! Holds the house against its plan: arrows between crates, sizes of rooms, words left behind.
