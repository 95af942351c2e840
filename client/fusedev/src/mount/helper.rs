//! `fusermount3`, which mounts for those who are not root, and hands over the descriptor.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use super::MountOptions;

const HELPER: &str = "fusermount3";

pub(super) fn mount(at: &Path, options: &MountOptions) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut command = Command::new(HELPER);
    command.arg("-o").arg(words(options)).arg("--").arg(at);
    // It sends the descriptor through the socket of this number: its standard input.
    command.env("_FUSE_COMMFD", "0").stdin(Stdio::from(theirs));
    check(&command.output()?)?;
    // Or a helper that sent nothing would be waited for: the command holds the other end.
    drop(command);
    receive(&ours)
}

pub(super) fn unmount(at: &Path, words: &[&str]) -> io::Result<()> {
    check(&Command::new(HELPER).args(words).arg("--").arg(at).stdin(Stdio::null()).output()?)
}

/// The list of options, a comma in a value behind a backslash.
fn words(options: &MountOptions) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,");
    let mut words = vec![
        format!("fsname={}", escaped(&options.source)),
        format!("subtype={}", escaped(&options.subtype)),
        "default_permissions".to_owned(),
    ];
    if options.allow_other {
        words.push("allow_other".to_owned());
    }
    words.extend(options.words().into_iter().map(str::to_owned));
    words.join(",")
}

fn check(said: &Output) -> io::Result<()> {
    if said.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    if text.contains("busy") { Err(io::ErrorKind::ResourceBusy.into()) } else { Err(io::Error::other(text)) }
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    rights.ok_or_else(|| io::Error::other(format!("{HELPER} handed over no descriptor")))
}
