//! The first call on every connection: which protocol both sides speak.

use minicbor::{Decode, Encode};

use crate::{Call, CallTag};

/// A version of the protocol. The highest that both sides speak holds for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ProtocolVersion(#[n(0)] pub u32);

impl ProtocolVersion {
    /// The oldest version that this build speaks.
    pub const OLDEST: Self = Self(1);
    /// The newest version that this build speaks.
    pub const LATEST: Self = Self(1);
}

/// Something a side can do that the version alone does not say. Code asks for a feature, never for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Shards carry a checksum for every block slot, so a ranged read is verified by the drive.
    SlotChecksums,
}

/// A set of features, as bits. Unknown bits of a newer peer are kept out of the agreement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Features(#[n(0)] u64);

impl Features {
    /// All that this build can do.
    pub const OURS: Self = Self(Self::bit(Feature::SlotChecksums));

    const fn bit(feature: Feature) -> u64 {
        match feature {
            Feature::SlotChecksums => 1 << 0,
        }
    }

    /// Whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & Self::bit(feature) != 0
    }

    /// What both sides can do.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What the connecting side says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Oldest version it speaks.
    #[n(0)]
    pub oldest: ProtocolVersion,
    /// Newest version it speaks.
    #[n(1)]
    pub newest: ProtocolVersion,
    /// What it can do.
    #[n(2)]
    pub features: Features,
    /// Its software version, for logs.
    #[n(3)]
    pub software: String,
    /// Random bytes in a field that no version knows: a peer that chokes on unknown fields is found early.
    #[n(31)]
    pub grease: Option<u64>,
}

/// What holds for the connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version.
    #[n(0)]
    pub version: ProtocolVersion,
    /// The features.
    #[n(1)]
    pub features: Features,
    /// The peer's software version, for logs.
    #[n(2)]
    pub software: String,
}

/// The two sides have no version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum HelloRefusal {
    /// The peer speaks only these.
    #[n(0)]
    #[error("the peer speaks protocol versions {} to {} only: upgrade the older side", oldest.0, newest.0)]
    NoCommonVersion {
        /// The oldest the peer speaks.
        #[n(0)]
        oldest: ProtocolVersion,
        /// The newest the peer speaks.
        #[n(1)]
        newest: ProtocolVersion,
    },
}

impl Call for Hello {
    const TAG: CallTag = CallTag::HELLO;
    type Reply = Welcome;
    type Refusal = HelloRefusal;
}

impl Hello {
    /// This build's hello.
    pub fn ours(software: &str, grease: u64) -> Self {
        Self {
            oldest: ProtocolVersion::OLDEST,
            newest: ProtocolVersion::LATEST,
            features: Features::OURS,
            software: software.to_owned(),
            grease: Some(grease),
        }
    }

    /// The answer of this build to a peer's hello.
    pub fn answer(&self, software: &str) -> Result<Welcome, HelloRefusal> {
        let version = self.newest.min(ProtocolVersion::LATEST);
        if version < self.oldest || version < ProtocolVersion::OLDEST {
            let (oldest, newest) = (ProtocolVersion::OLDEST, ProtocolVersion::LATEST);
            return Err(HelloRefusal::NoCommonVersion { oldest, newest });
        }
        Ok(Welcome { version, features: self.features.common(Features::OURS), software: software.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u32, newest: u32) -> Hello {
        Hello { oldest: ProtocolVersion(oldest), newest: ProtocolVersion(newest), ..Hello::ours("t", 9) }
    }

    #[test]
    fn the_highest_common_version_holds() {
        let rows = [(1, 1, Some(1)), (1, 9, Some(1)), (2, 9, None), (0, 0, None), (5, 1, None)];
        for (oldest, newest, agreed) in rows {
            let version = hello(oldest, newest).answer("t").ok().map(|w| w.version.0);
            assert_eq!(version, agreed, "peer speaks {oldest} to {newest}");
        }
    }

    #[test]
    fn features_of_a_newer_peer_are_not_agreed_on() {
        let newer = Hello { features: Features(u64::MAX), ..hello(1, 1) };
        assert_eq!(newer.answer("t").expect("agrees").features, Features::OURS);
    }
}
