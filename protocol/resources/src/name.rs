//! The name of a container: part of file names, of log lines and of what people type.

use core::fmt;
use core::str::FromStr;

/// 1 to 32 of `a-z`, `0-9` and `-`, the first a letter: safe as a file name, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContainerName(String);

/// A text is not a container's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a container name: 1 to 32 of a-z, 0-9 and '-', the first a letter")]
pub struct NameError {
    /// The text, cut to 64 characters.
    pub text: String,
}

impl ContainerName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 32;

    /// The container of drive number `index`: `drive0` and so on.
    pub fn drive(index: u32) -> Self {
        Self(format!("drive{index}"))
    }

    /// The container of the management and compute processes.
    pub fn compute0() -> Self {
        Self("compute0".to_owned())
    }

    /// The container of the first mount.
    pub fn frontend0() -> Self {
        Self("frontend0".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts && plain && text.len() <= Self::BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError { text: text.chars().take(64).collect() })
    }
}

impl TryFrom<String> for ContainerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_never_a_way_out_of_its_folder() {
        let long = "a".repeat(33);
        for text in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "Drive0", "0drive", "-a", "a.b", &long] {
            assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_drive_has_a_name(index: u32) {
            let name = ContainerName::drive(index);
            prop_assert_eq!(name.as_str().parse(), Ok(name.clone()));
        }
    }
}
