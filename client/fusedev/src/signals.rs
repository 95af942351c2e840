//! Whether a thread is being killed.

/// Whether a thread of this host has SIGKILL coming, as the kernel gives it to every thread of a process that a signal
/// ends; or is no more. One that cannot be seen from here (0) counts as killed: it was sent a signal, and nobody would
/// ever learn which.
pub(crate) fn is_being_killed(thread: u32) -> bool {
    if thread == 0 {
        return true;
    }
    std::fs::read_to_string(format!("/proc/{thread}/status")).map_or(true, |status| has_kill_pending(&status))
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
        assert!(!is_being_killed(std::process::id()));
        assert!(is_being_killed(u32::MAX), "no thread has this id");
        assert!(is_being_killed(0));
    }
}
