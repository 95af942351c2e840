//! Servers and pools over real sockets of the loopback interface, on current-thread runtimes.

mod calls;
mod death;
mod garbage;
mod hello;
mod identity;
mod limits;
mod net;
mod paths;
mod raw;
mod words;
