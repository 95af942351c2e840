//! Mount options in the field's words.

/// What a mount allows. The defaults are those of a local filesystem mounted by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: the mount only reads.
    pub read_only: bool,
    /// Not `nosuid`: set-user-id and set-group-id bits count.
    pub suid: bool,
    /// Not `nodev`: device nodes open devices.
    pub dev: bool,
    /// Not `noexec`: files can be executed.
    pub exec: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { read_only: false, suid: true, dev: true, exec: true }
    }
}

/// A word that is no mount option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not a mount option; there are rw, ro, suid, nosuid, dev, nodev, exec, noexec, noatime")]
pub struct OptionError {
    /// The word.
    pub word: String,
}

impl MountOptions {
    /// Reads a list as `mount -o` takes it: words with commas between them, the last of a kind wins.
    ///
    /// # Errors
    /// [`OptionError`] names the first word that is no option.
    pub fn parse(list: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for word in list.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => options.read_only = true,
                "rw" => options.read_only = false,
                "suid" => options.suid = true,
                "nosuid" => options.suid = false,
                "dev" => options.dev = true,
                "nodev" => options.dev = false,
                "exec" => options.exec = true,
                "noexec" => options.exec = false,
                // Reads never change access times here, so these say what is so.
                "noatime" | "defaults" => {}
                _ => return Err(OptionError { word: word.to_owned() }),
            }
        }
        Ok(options)
    }

    /// As the kernel is told, for a filesystem of this name.
    pub(crate) fn for_kernel(&self, filesystem: &str) -> weft_fusedev::MountOptions {
        weft_fusedev::MountOptions {
            source: format!("weft:{filesystem}"),
            subtype: "weft".to_owned(),
            read_only: self.read_only,
            suid: self.suid,
            dev: self.dev,
            exec: self.exec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_lists_are_read_as_mount_reads_them() {
        let default = MountOptions::default();
        let rows = [
            ("", default.clone()),
            ("rw,defaults,noatime", default.clone()),
            ("ro,nosuid", MountOptions { read_only: true, suid: false, ..default.clone() }),
            ("nodev,noexec,ro,rw", MountOptions { dev: false, exec: false, ..default }),
        ];
        for (list, options) in rows {
            assert_eq!(MountOptions::parse(list), Ok(options), "{list}");
        }
        assert_eq!(MountOptions::parse("ro,fast").map_err(|e| e.word), Err("fast".to_owned()));
    }
}
