//! Pure: the key hierarchy, sealing of blocks and rows, wrapping.
//!
//! ```text
//! KMS key ── wraps ── cluster key ── seals ── the cluster store
//!    └────── wraps ── filesystem key (versioned)
//!                        ├── wraps ── data key (one per file) ── derives ── extent key ── seals ── blocks
//!                        ├── wraps ── metadata key ── derives ── ownership key ── seals ── rows
//!                        └── wraps ── name key ── MACs ── names within directories
//! ```
//!
//! All sealing is AES-256-GCM, all derivation HKDF-SHA-256. Derivation info and authenticated data are sequences of
//! fields, each behind its length, of which the first names the purpose: no two purposes and no two values share
//! an encoding. Nothing here draws a random number or reads a clock: nonces, salts and new keys are made from bytes
//! the caller draws from the system.

mod cipher;
mod cluster_store;
mod context;
mod extent;
mod name;
mod padding;
mod row;
mod secret;
mod wrap;

pub use cipher::{Nonce, TAG_BYTES};
pub use cluster_store::OpenStoreError;
pub use extent::{ExtentSealer, OpenBlockError, SealBlockError};
pub use name::NameHasher;
pub use padding::{PADDED_TO, PaddingError, pad, unpad};
pub use row::{EpochSalt, OpenRowError, OwnershipSealer, RowOpener, RowsExhausted, SealedRow};
pub use secret::{ClusterKey, DataKey, KEY_BYTES, MetadataKey, NameKey};
pub use wrap::{FilesystemKey, KmsWrapped, UnwrapError, WrappedKey};

#[cfg(test)]
mod golden;
