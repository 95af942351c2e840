//! One device: records in, records out; and the service that serves it.
