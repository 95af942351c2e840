//! Cluster CA, node identities with roles, and the TLS configurations made from them.
