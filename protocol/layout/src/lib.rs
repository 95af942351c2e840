//! Pure: file range to extent to stripe to shard; erasure coding; placement.
