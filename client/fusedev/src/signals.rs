//! Whether a thread is being killed.

/// What can be said of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Lives,
    /// SIGKILL is coming, as the kernel gives it to every thread of a process that a signal ends.
    IsKilled,
    /// It is no more, or cannot be seen from here (0).
    Unknown,
}

impl Fate {
    /// Of a thread of this host.
    pub(crate) fn of(thread: u32) -> Self {
        if thread == 0 {
            return Self::Unknown;
        }
        match std::fs::read_to_string(format!("/proc/{thread}/status")) {
            Err(_) => Self::Unknown,
            Ok(status) if has_kill_pending(&status) => Self::IsKilled,
            Ok(_) => Self::Lives,
        }
    }
}

/// Out of the text of `/proc/<thread>/status`.
fn has_kill_pending(status: &str) -> bool {
    /// Signal 9.
    const SIGKILL: u64 = 1 << 8;
    let pending = |line: &str| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    status.lines().filter_map(pending).any(|mask| mask & SIGKILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigkill_is_told_from_other_signals() {
        let status =
            |own: &str, shared: &str| format!("Name:\tx\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0\n");
        let none = "0000000000000000";
        assert!(!has_kill_pending(&status(none, none)));
        assert!(
            !has_kill_pending(&status("0000000000004002", "fffffffffffffeff")),
            "SIGINT, SIGTERM and others"
        );
        assert!(has_kill_pending(&status("0000000000000100", none)));
        assert!(has_kill_pending(&status(none, "0000000000000100")));
        assert!(!has_kill_pending("SigPnd:\tnonsense\n"));
    }

    #[test]
    fn the_living_and_the_gone_are_told_apart() {
        assert_eq!(Fate::of(std::process::id()), Fate::Lives);
        assert_eq!(Fate::of(u32::MAX), Fate::Unknown, "no thread has this id");
        assert_eq!(Fate::of(0), Fate::Unknown);
    }
}
