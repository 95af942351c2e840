//! A metadata shard's log and its local index; the cluster store.
