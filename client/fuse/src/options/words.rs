//! The words that mount options are, as people are told of them.

use super::OptionError;

/// All of them, with what they mean: for `weft mount --help` and the manual.
pub const MOUNT_OPTIONS_HELP: &str = "\
Mount options, with commas between them; the last of a kind wins:
  rw, ro                    files may be changed (default), or only read
  suid, nosuid              set-user-id and set-group-id bits count (default), or not
  dev, nodev                device nodes open devices (default), or not
  exec, noexec              files can be executed (default), or not
  relatime, atime, noatime  reads set times of access now and then (default), or never
  writecache                what is written is on the drives seconds later, or after fsync (default)
  readcache                 what is read is cached, a write is on the drives when it returns
  forcedirect               the kernel's page cache is not used
  async, sync               as the cache says (default), or a write is on the drives when it returns
  allow_other               users other than the one who mounts may use it (default for root)
  noallow_other             they may not
  memory=SIZE               for all caches of this mount, at least 128MiB (default 512MiB)
  readahead=SIZE            how far is read ahead of a reader at most, 0 to 1GiB (default 16MiB)
Words of fstab that mount(8) and systemd read are accepted and mean nothing here: defaults, auto,
noauto, user, users, owner, group, nofail, _netdev, nodiratime, dirsync, comment=, x-...";

/// The first words of the lines of [`MOUNT_OPTIONS_HELP`] that explain one.
pub(super) fn listed() -> String {
    let lines = MOUNT_OPTIONS_HELP.lines().filter_map(|line| line.strip_prefix("  "));
    let words = lines.filter_map(|line| line.split("  ").next());
    words.collect::<Vec<_>>().join(", ")
}

/// What `mount(8)`, systemd and others read in a list, and what is so in any case.
pub(super) fn means_nothing_here(word: &str) -> bool {
    const WORDS: [&str; 17] = [
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "nofail",
        "fail",
        "_netdev",
        "diratime",
        "nodiratime",
        // Changes of names are durable when they return.
        "dirsync",
        // The kernel always checks permissions.
        "default_permissions",
        "silent",
        "loud",
    ];
    let names = ["comment", "user", "helper", "uhelper"];
    let is_comment = || word.split_once('=').is_some_and(|(name, _)| names.contains(&name));
    WORDS.contains(&word) || word.starts_with("x-") || word.starts_with("X-") || is_comment()
}

/// Words that people expect to do something.
pub(super) fn done_otherwise(word: &str) -> Option<OptionError> {
    let instead = match word {
        "strictatime" => "a time of access is kept by the rules of relatime, or with noatime not at all",
        "lazytime" => "times of access are told lazily in any case, and others at once",
        "remount" => "a mount is changed by `mount -o remount,...`",
        "bind" | "rbind" | "move" => {
            "it is done by mount(8) with --bind or --move, to what is mounted already"
        }
        _ => return None,
    };
    Some(not_done(word, instead))
}

pub(super) fn not_done(word: &str, instead: &'static str) -> OptionError {
    OptionError::NotDone { word: word.to_owned(), instead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountOptions;

    #[test]
    fn what_is_explained_is_understood_and_fits_a_screen() {
        let all = listed();
        assert!(all.contains("rw, ro, suid, nosuid") && all.ends_with("readahead=SIZE"), "{all}");
        for word in all.split(", ") {
            let example = word.replace("=SIZE", "=256MiB");
            assert!(MountOptions::parse(&example).is_ok(), "{word}");
        }
        assert!(MOUNT_OPTIONS_HELP.lines().all(|line| line.len() <= 100));
    }
}
