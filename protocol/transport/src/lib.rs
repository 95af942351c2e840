//! QUIC transport: mutual TLS, connection pool, RPC with deadlines and cancellation.
