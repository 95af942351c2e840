//! Translates the kernel's requests to core.
