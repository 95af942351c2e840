//! The one place where errors become errnos.

use fuser::Errno;
use weft_core::{FsError, MetaError, NameError};

/// The errno of a failed operation.
pub(crate) const fn errno(error: &FsError) -> Errno {
    match error {
        FsError::Refused(refusal) => refusal_errno(*refusal),
        FsError::NoSpace => Errno::ENOSPC,
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::BadHandle => Errno::EBADF,
        FsError::TooManyHandles => Errno::ENFILE,
        FsError::WouldBlock => Errno::EAGAIN,
        FsError::Deadlock => Errno::EDEADLK,
        FsError::TooManyLocks => Errno::ENOLCK,
        // What an application can do about these is the same: not believe that it happened.
        FsError::Unreadable
        | FsError::Unreachable
        | FsError::TimedOut
        | FsError::SessionEnded
        | FsError::Protocol => Errno::EIO,
    }
}

const fn refusal_errno(refusal: MetaError) -> Errno {
    match refusal {
        MetaError::NotFound => Errno::ENOENT,
        MetaError::Exists => Errno::EEXIST,
        MetaError::NotDirectory => Errno::ENOTDIR,
        MetaError::IsDirectory => Errno::EISDIR,
        MetaError::NotEmpty => Errno::ENOTEMPTY,
        MetaError::Invalid => Errno::EINVAL,
        MetaError::TooManyLinks => Errno::EMLINK,
        MetaError::NotPermitted => Errno::EPERM,
        MetaError::NoSpace => Errno::ENOSPC,
        MetaError::NoAttribute => Errno::NO_XATTR,
        MetaError::AttributeTooLong => Errno::E2BIG,
        MetaError::NameTooLong => Errno::ENAMETOOLONG,
        MetaError::FileTooLarge => Errno::EFBIG,
        MetaError::ReadOnly => Errno::EROFS,
        MetaError::SessionEnded
        | MetaError::SlotOutOfStep
        | MetaError::Damaged
        | MetaError::ForeignExtent
        | MetaError::StaleGroup
        | MetaError::MapChanged => Errno::EIO,
    }
}

/// The errno of bytes that are no name.
pub(crate) const fn name_errno(error: NameError) -> Errno {
    match error {
        NameError::Invalid => Errno::EINVAL,
        NameError::TooLong => Errno::ENAMETOOLONG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_errnos_that_posix_names() {
        let rows = [
            (MetaError::NotFound, 2),
            (MetaError::Exists, 17),
            (MetaError::NotEmpty, 39),
            (MetaError::NoAttribute, 61),
            (MetaError::AttributeTooLong, 7),
            (MetaError::ReadOnly, 30),
            (MetaError::SessionEnded, 5),
        ];
        for (refusal, number) in rows {
            assert_eq!(errno(&FsError::Refused(refusal)).code(), number, "{refusal}");
        }
        assert_eq!(errno(&FsError::Unreadable).code(), 5);
        for (error, number) in
            [(FsError::WouldBlock, 11), (FsError::Deadlock, 35), (FsError::TooManyLocks, 37)]
        {
            assert_eq!(errno(&error).code(), number, "{error}");
        }
    }
}
