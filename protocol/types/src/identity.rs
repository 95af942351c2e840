//! 128-bit random identities: of clusters, drives, nodes, filesystems and sessions, and the role of a node.

use core::fmt;
use core::str::FromStr;

/// A text is not the 32 hexadecimal digits of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    /// What the text should have been, such as `drive id`.
    pub expected: &'static str,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {}: expected 32 hexadecimal digits", self.expected)
    }
}

impl core::error::Error for ParseIdError {}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 bytes of a cryptographically strong random source.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, for row keys, additional authenticated data and file headers.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// The first four bytes as text: enough to tell a person which one is meant.
            pub fn short(self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self).ok_or(ParseIdError { expected: $what })
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes.try_into().map(Self).map_err(|_| minicbor::decode::Error::message(concat!($what, " is not 16 bytes")))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id!(
    /// One Weft cluster. Every device, certificate and message of a cluster carries it.
    ClusterId,
    "cluster id"
);
random_id!(
    /// One drive for the whole life of its data. A drive that comes back blank is a new drive.
    DriveId,
    "drive id"
);
random_id!(
    /// One process with an identity of its own: a drive, compute, management, frontend or admin node.
    NodeId,
    "node id"
);
random_id!(
    /// One filesystem of a cluster.
    FilesystemId,
    "filesystem id"
);
random_id!(
    /// One attachment of a frontend to a filesystem. Random and never reused: extent ids are built on it, and an
    /// extent id that came back would be a key and a nonce that came back.
    SessionId,
    "session id"
);

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(out)
}

/// What a node may do; part of its certificate, and what every RPC is authorised by.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Role {
    /// Holds shards of extents. Never holds a key.
    #[n(0)]
    Drive,
    /// Owns metadata shards; holds filesystem keys.
    #[n(1)]
    Compute,
    /// Holds the cluster store: map, membership, wrapped keys.
    #[n(2)]
    Management,
    /// A client or a gateway; holds the data keys of files it may open.
    #[n(3)]
    Frontend,
    /// A person or a script that administers the cluster.
    #[n(4)]
    Admin,
}

impl Role {
    /// Every role, in the order of their wire numbers.
    pub const ALL: [Self; 5] = [Self::Drive, Self::Compute, Self::Management, Self::Frontend, Self::Admin];

    /// The word used in certificates, resource files and output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drive => "drive",
            Self::Compute => "compute",
            Self::Management => "management",
            Self::Frontend => "frontend",
            Self::Admin => "admin",
        }
    }

    /// The role whose [`word`](Self::word) this is.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text_and_its_wire_form(bytes: [u8; 16]) {
            let id = DriveId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<DriveId>(), Ok(id));
            let wire = minicbor::to_vec(id).expect("encodes");
            prop_assert_eq!(minicbor::decode::<DriveId>(&wire).expect("decodes"), id);
            let json = serde_json::to_string(&id).expect("json");
            prop_assert_eq!(serde_json::from_str::<DriveId>(&json).expect("json"), id);
        }

        #[test]
        fn a_text_that_is_no_id_is_refused(text in "\\PC{0,40}") {
            let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<ClusterId>().is_ok(), is_hex);
        }
    }

    #[test]
    fn every_role_has_its_own_word() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.word()), Some(role));
        }
        assert_eq!(Role::from_word("root"), None);
    }
}
