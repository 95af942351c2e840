//! How many data and parity shards an extent has.

use core::fmt;
use core::str::FromStr;

/// Why a protection is refused. One line each, fit to be shown to the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtectionError {
    /// The text is not two numbers joined by `+`.
    #[error("protection {0:?} is not of the form N+M, such as 4+2")]
    Malformed(String),
    /// The number of data shards is out of range.
    #[error(
        "protection {data}+{parity}: data shards must be 3 to 16 (2+1 is the one exception, for development)"
    )]
    Data {
        /// Data shards asked for.
        data: u8,
        /// Parity shards asked for.
        parity: u8,
    },
    /// The number of parity shards is not offered.
    #[error(
        "protection {data}+{parity}: parity shards must be 2 or 4 (2+1 is the one exception, for development)"
    )]
    Parity {
        /// Data shards asked for.
        data: u8,
        /// Parity shards asked for.
        parity: u8,
    },
}

/// The erasure code of a cluster, chosen when it is formed: N data shards and M parity shards in different
/// failure domains; any N of the N+M give the data back.
///
/// N is 3 to 16 and M is 2 or 4; 2+1 serves development on three nodes. No other value exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode)]
pub struct Protection {
    #[n(0)]
    data: u8,
    #[n(1)]
    parity: u8,
}

/// The wire form before it is believed.
#[derive(minicbor::Decode)]
struct Unchecked {
    #[n(0)]
    data: u8,
    #[n(1)]
    parity: u8,
}

impl Protection {
    /// Three nodes, for development: survives the loss of one.
    pub const DEVELOPMENT: Self = Self { data: 2, parity: 1 };
    /// Shards of the widest stripe, 16+4.
    pub const MAX_WIDTH: usize = 20;

    /// `data` + `parity` shards.
    ///
    /// # Errors
    /// [`ProtectionError::Parity`] or [`ProtectionError::Data`] for a combination that is not offered.
    pub const fn new(data: u8, parity: u8) -> Result<Self, ProtectionError> {
        match (data, parity) {
            (2, 1) | (3..=16, 2 | 4) => Ok(Self { data, parity }),
            (_, 2 | 4) | (2, _) => Err(ProtectionError::Data { data, parity }),
            _ => Err(ProtectionError::Parity { data, parity }),
        }
    }

    /// N, the data shards of a stripe.
    pub const fn data(self) -> u8 {
        self.data
    }

    /// M, the parity shards of a stripe; also how many shards may be lost without losing data.
    pub const fn parity(self) -> u8 {
        self.parity
    }

    /// N+M, the shards of a stripe and the members of a placement group. At most [`Self::MAX_WIDTH`].
    pub const fn width(self) -> u8 {
        self.data + self.parity
    }

    /// The most shards of one stripe that may share a failure domain while too few domains are healthy: M, so
    /// that the loss of one domain is still survived. 2+1 may put both data shards into one domain; it
    /// runs unprotected then.
    pub const fn max_shards_per_domain(self) -> u8 {
        if self.parity == 1 { 2 } else { self.parity }
    }

    /// The healthy failure domains below which writes are refused: ceil((N+M)/M), since one domain holds at most
    /// M shards of a stripe. 2+1 needs two: a cluster of three nodes goes on, unprotected, with one down.
    pub const fn domains_min_for_writes(self) -> u8 {
        self.width().div_ceil(self.max_shards_per_domain())
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protection({self})")
    }
}

impl FromStr for Protection {
    type Err = ProtectionError;

    fn from_str(text: &str) -> Result<Self, ProtectionError> {
        let malformed = || ProtectionError::Malformed(text.chars().take(32).collect());
        let (data, parity) = text.split_once('+').ok_or_else(malformed)?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten().ok_or_else(malformed)
        };
        Self::new(number(data)?, number(parity)?)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Protection {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let Unchecked { data, parity } = Unchecked::decode(d, ctx)?;
        Self::new(data, parity).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every protection that exists.
    pub(crate) fn all() -> Vec<Protection> {
        let pairs = (0..=u8::MAX).flat_map(|n| (0..=8).map(move |m| (n, m)));
        pairs.filter_map(|(n, m)| Protection::new(n, m).ok()).collect()
    }

    /// Any protection that exists.
    pub(crate) fn any_protection() -> impl Strategy<Value = Protection> {
        proptest::sample::select(all())
    }

    #[test]
    fn every_offered_protection_survives_its_text_and_its_wire_form() {
        assert_eq!(all().len(), 14 * 2 + 1);
        for protection in all() {
            assert_eq!(protection.to_string().parse(), Ok(protection));
            let wire = minicbor::to_vec(protection).expect("encodes");
            assert_eq!(minicbor::decode::<Protection>(&wire).expect("decodes"), protection);
            assert!(usize::from(protection.width()) <= Protection::MAX_WIDTH);
        }
    }

    #[test]
    fn a_protection_that_is_not_offered_says_why() {
        let rows = [
            ("4", "not of the form"),
            ("", "not of the form"),
            ("4+", "not of the form"),
            ("4+2+1", "not of the form"),
            ("+4+2", "not of the form"),
            (" 4+2", "not of the form"),
            ("-4+2", "not of the form"),
            ("300+2", "not of the form"),
            ("2+2", "data shards must be 3 to 16"),
            ("17+2", "data shards must be 3 to 16"),
            ("0+2", "data shards must be 3 to 16"),
            ("4+3", "parity shards must be 2 or 4"),
            ("4+0", "parity shards must be 2 or 4"),
            ("3+1", "parity shards must be 2 or 4"),
        ];
        for (text, reason) in rows {
            let error = text.parse::<Protection>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_wire_form_that_is_no_protection_is_refused() {
        let wire = minicbor::to_vec((200_u8, 2_u8)).expect("encodes");
        assert!(minicbor::decode::<Protection>(&wire).is_err());
    }

    #[test]
    fn writes_need_room_for_every_shard() {
        let domains = |text: &str| text.parse::<Protection>().expect("offered").domains_min_for_writes();
        assert_eq!([domains("4+2"), domains("3+2"), domains("16+4"), domains("2+1")], [3, 3, 5, 2]);
    }
}
