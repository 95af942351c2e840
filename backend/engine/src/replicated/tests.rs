//! The log over simulated drives.
