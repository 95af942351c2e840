//! Which service a cluster uses.

use std::path::PathBuf;

use crate::error::KmsError;
use crate::local::LocalKms;
use crate::service::{KeyManagement, Provider};

/// The KMS of a cluster, as resource files have it: `{"provider": "local", "key_file": "/etc/weft/kms.key"}`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KmsConfig {
    /// A key in a file.
    Local {
        /// The file. A relative path is taken from the process's working directory.
        key_file: PathBuf,
    },
}

impl KmsConfig {
    /// The kind of service.
    pub const fn provider(&self) -> Provider {
        match self {
            Self::Local { .. } => Provider::Local,
        }
    }

    /// Opens the service. Reads the key file of the local provider; blocks for that long.
    pub fn open(&self) -> Result<Box<dyn KeyManagement>, KmsError> {
        match self {
            Self::Local { key_file } => Ok(Box::new(LocalKms::open(key_file)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_resource_files_write_it() {
        let text = r#"{"provider":"local","key_file":"/etc/weft/kms.key"}"#;
        let config: KmsConfig = serde_json::from_str(text).expect("reads");
        assert_eq!(config, KmsConfig::Local { key_file: "/etc/weft/kms.key".into() });
        assert_eq!(serde_json::to_string(&config).expect("writes"), text);
        assert_eq!(config.provider(), Provider::Local);
        for bad in [
            r#"{"key_file":"/k"}"#,
            r#"{"provider":"local"}"#,
            r#"{"provider":"none","key_file":"/k"}"#,
            r#"{"provider":"local","key_file":"/k","keyfile":"/k"}"#,
        ] {
            assert!(serde_json::from_str::<KmsConfig>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_opens_the_service_that_it_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let key_file = dir.path().join("kms.key");
        let config = KmsConfig::Local { key_file: key_file.clone() };
        assert!(config.open().is_err(), "there is no key file yet");
        let made = LocalKms::create(&key_file).expect("created");
        let opened = config.open().expect("opens");
        assert_eq!(opened.key_reference(), made.key_reference());
    }
}
