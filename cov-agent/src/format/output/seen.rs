//! Noticing that another agent wrote into the same directory meanwhile.

use super::OutputDir;
use crate::format::Format;
use rustix::fs::AtFlags;
use std::os::fd::OwnedFd;

/// Which file has a name, and since when: device, inode and time of change.
type Stamp = [i128; 4];

/// The coverage data in a directory at some time.
#[derive(PartialEq, Eq)]
pub(super) struct Seen([Option<Stamp>; Format::ALL.len()]);

impl Seen {
    pub(super) fn of(directory: &OwnedFd) -> Self {
        Self(Format::ALL.map(|format| {
            let stat = rustix::fs::statat(directory, format.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            // Systems have integers of different widths here.
            Some([stat.st_dev.into(), stat.st_ino.into(), stat.st_ctime.into(), stat.st_ctime_nsec.into()])
        }))
    }
}

impl OutputDir<'_> {
    /// Whether coverage data appeared in the directory, or were replaced, since it was opened. Ask under
    /// [`lock`](Self::lock).
    #[must_use]
    pub fn changed(&self) -> bool {
        Seen::of(&self.directory) != self.seen
    }
}
