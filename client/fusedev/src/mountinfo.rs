//! The kernel's table of mounts.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `major:minor` of what is mounted last at a path. Asking the mount itself would wait for an answer that nobody may
/// give.
pub fn device_at(at: &Path) -> Option<String> {
    device_in(&std::fs::read("/proc/self/mountinfo").ok()?, at)
}

/// The same, out of the text of `/proc/self/mountinfo`.
fn device_in(table: &[u8], at: &Path) -> Option<String> {
    let at = escaped(at.as_os_str().as_bytes());
    let line = |line: &&[u8]| line.split(|&byte| byte == b' ').nth(4) == Some(&at);
    let here = table.split(|&byte| byte == b'\n').rev().find(line)?;
    let device = here.split(|&byte| byte == b' ').nth(2)?;
    String::from_utf8(device.to_vec()).ok()
}

/// As the table writes bytes that would end a field.
fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_is_found() {
        let table = b"36 35 98:0 / /mnt rw - ext4 /dev/a rw\n\
                      41 36 0:52 / /mnt rw - fuse.weft weft:default rw\n\
                      42 36 0:53 / /mnt/a\\040b\\134 rw - fuse.weft weft:default rw\n";
        assert_eq!(device_in(table, Path::new("/mnt")).as_deref(), Some("0:52"));
        assert_eq!(device_in(table, Path::new("/mnt/a b\\")).as_deref(), Some("0:53"));
        assert_eq!(device_in(table, Path::new("/other")), None);
        assert!(device_at(Path::new("/")).is_some());
    }
}
