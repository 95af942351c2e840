//! Messages between frontends and backend: numbered fields, versions, golden bytes.
