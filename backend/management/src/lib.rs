//! Cluster map, membership, health, filesystems; cluster formation.
