//! Keeping other agents out of a directory while it is read and then written.

use super::{OutputDir, OutputError};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

impl OutputDir<'_> {
    /// Keeps every other agent from replacing files in the directory, until the lock is dropped or
    /// files are replaced.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn lock(&self) -> Result<DirLock<'_>, OutputError> {
        let error = |e: Errno| OutputError::Directory { path: self.path.clone(), source: e.into() };
        rustix::fs::flock(&self.directory, FlockOperation::LockExclusive).map_err(error)?;
        Ok(DirLock(&self.directory))
    }
}

/// An exclusive lock on an output directory; see [`OutputDir::lock`].
#[derive(Debug)]
pub struct DirLock<'a>(&'a OwnedFd);

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        // Unlocking cannot fail in a way that matters: closing the directory unlocks it too.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}
