//! The table against a map of bytes, deadlocks against all paths there are, and requests that come twice.

mod model;
mod requests;
mod rules;
