//! A whole cluster of production cores on one thread, with simulated network, clocks and devices.
