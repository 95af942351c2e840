//! The one place where errors become errnos.

use weft_core::{FsError, MetaError, NameError};
use weft_fusedev::Errno;

/// The errno of a failed operation.
pub(crate) const fn errno(error: &FsError) -> Errno {
    match error {
        FsError::Refused(refusal) => refusal_errno(*refusal),
        FsError::NoSpace => Errno::NOSPC,
        FsError::FileTooLarge => Errno::FBIG,
        FsError::BadHandle => Errno::BADF,
        FsError::TooManyHandles => Errno::NFILE,
        FsError::BeyondEnd => Errno::NXIO,
        FsError::WouldBlock => Errno::AGAIN,
        FsError::Deadlock => Errno::DEADLK,
        FsError::TooManyLocks => Errno::NOLCK,
        FsError::Stale => Errno::STALE,
        // What an application can do about these is the same: not believe that it happened.
        FsError::Unreadable
        | FsError::Unreachable
        | FsError::TimedOut
        | FsError::SessionEnded
        | FsError::Lost
        | FsError::Protocol => Errno::IO,
    }
}

const fn refusal_errno(refusal: MetaError) -> Errno {
    match refusal {
        MetaError::NotFound => Errno::NOENT,
        MetaError::Exists => Errno::EXIST,
        MetaError::NotDirectory => Errno::NOTDIR,
        MetaError::IsDirectory => Errno::ISDIR,
        MetaError::NotEmpty => Errno::NOTEMPTY,
        MetaError::Invalid => Errno::INVAL,
        MetaError::TooManyLinks => Errno::MLINK,
        MetaError::NotPermitted => Errno::PERM,
        MetaError::NoSpace => Errno::NOSPC,
        MetaError::NoAttribute => Errno::NODATA,
        MetaError::AttributeTooLong => Errno::TOOBIG,
        MetaError::NameTooLong => Errno::NAMETOOLONG,
        MetaError::FileTooLarge => Errno::FBIG,
        MetaError::ReadOnly => Errno::ROFS,
        MetaError::SessionEnded
        | MetaError::SlotOutOfStep
        | MetaError::Damaged
        | MetaError::ForeignExtent
        | MetaError::StaleGroup
        | MetaError::NotAttached
        | MetaError::MapChanged => Errno::IO,
    }
}

/// The errno of bytes that are no name.
pub(crate) const fn name_errno(error: NameError) -> Errno {
    match error {
        NameError::Invalid => Errno::INVAL,
        NameError::TooLong => Errno::NAMETOOLONG,
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
            assert_eq!(errno(&FsError::Refused(refusal)).raw_os_error(), number, "{refusal}");
        }
        assert_eq!(errno(&FsError::Unreadable).raw_os_error(), 5);
        for (error, number) in
            [(FsError::WouldBlock, 11), (FsError::Deadlock, 35), (FsError::TooManyLocks, 37)]
        {
            assert_eq!(errno(&error).raw_os_error(), number, "{error}");
        }
    }
}
