//! Files that appear whole or not at all, and never through somebody else's link.
//!
//! The output directory is opened component by component: a symlink on the way is followed only if
//! it belongs to root, to the acting user or to the owner of the directory it lies in (the rule of
//! Linux' `protected_symlinks`, everywhere). Files are then made relative to the open directory: a
//! temporary file beside the target, written, fsynced, renamed over it, and the directory fsynced.
//! So a target that is a symlink is replaced, not followed, and after a full disk, an error or a
//! kill the old file is whole.

mod directory;
mod lock;
mod seen;
#[cfg(test)]
mod tests;

pub use lock::DirLock;

use directory::open_directory;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use seen::Seen;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

/// How temporary files are named: `.cov-agent-` + random + `.tmp`. Not `.coverage.*`: coverage.py
/// takes such files for data.
const TEMPORARY: (&str, &str) = (".cov-agent-", ".tmp");

/// With whose rights files are opened and made, and to whom they belong.
pub trait Rights: Sync {
    /// Runs `act` with these rights (on this thread, before it returns), for instance with the
    /// file-system user and group ids of the user who called sudo.
    ///
    /// # Errors
    /// The rights could not be taken; `act` did not run.
    fn with(&self, act: &mut dyn FnMut()) -> io::Result<()>;

    /// The user and group to whom new files and directories shall belong, where that is not who
    /// makes them.
    fn owner(&self) -> Option<(u32, u32)> {
        None
    }
}

/// The process's own rights.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnRights;

impl Rights for OwnRights {
    fn with(&self, act: &mut dyn FnMut()) -> io::Result<()> {
        act();
        Ok(())
    }
}

/// Why output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The directory cannot be opened or made.
    #[error("cannot open the output directory {path}: {source}", path = path.display())]
    Directory {
        /// The directory, as it was given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A link on the way to the directory belongs to somebody else.
    #[error(
        "will not write through {link}: this symbolic link belongs to user {owner}; name the real directory",
        link = link.display()
    )]
    ForeignLink {
        /// The link.
        link: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// A file could not be written. What was there before is untouched.
    #[error("cannot write {path}: {source}; what was there before is unchanged", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// An open output directory.
pub struct OutputDir<'a> {
    directory: OwnedFd,
    path: PathBuf,
    rights: &'a dyn Rights,
    /// The data in it when it was opened.
    seen: Seen,
}

impl<'a> OutputDir<'a> {
    /// Opens a directory, making it and its parents where they are missing, and removes what killed
    /// agents left half-written in it.
    ///
    /// # Errors
    /// It cannot be opened or made, or the way leads through a foreign link.
    pub fn open(path: impl Into<PathBuf>, rights: &'a dyn Rights) -> Result<Self, OutputError> {
        let path = path.into();
        let (directory, seen) = with_rights(rights, &path, || {
            let directory = open_directory(&path, rights.owner())?;
            remove_stale(&directory);
            let seen = Seen::of(&directory);
            Ok((directory, seen))
        })?;
        Ok(Self { directory, path, rights, seen })
    }

    /// Its path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that files can be made in the directory, and leaves none.
    ///
    /// # Errors
    /// They cannot.
    pub fn check(&self) -> Result<(), OutputError> {
        with_rights(self.rights, &self.path, || {
            let made = self.temporary();
            made.map(drop).map_err(|source| OutputError::Directory { path: self.path.clone(), source })
        })
    }

    /// Replaces the files of these names by what the functions write. Only when all are written to
    /// disk they take their places. Returns their paths.
    ///
    /// # Errors
    /// The first that occurs; then all files are as they were, unless renaming itself failed.
    pub fn replace<F>(&self, files: Vec<(&str, F)>) -> Result<Vec<PathBuf>, OutputError>
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()>,
    {
        with_rights(self.rights, &self.path, || self.replace_here(files))
    }

    fn replace_here<F>(&self, files: Vec<(&str, F)>) -> Result<Vec<PathBuf>, OutputError>
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()>,
    {
        let error = |name: &str| {
            let path = self.path.join(name);
            move |source| OutputError::File { path, source }
        };
        let mut written = Vec::new();
        for (name, write) in files {
            let mut temporary = self.temporary().map_err(error(name))?;
            write(&mut temporary.file).map_err(error(name))?;
            written.push((name, temporary));
        }
        sync(&written).map_err(|(name, source)| error(name)(source))?;
        // Two agents must not mix their files.
        rustix::fs::flock(&self.directory, FlockOperation::LockExclusive).map_err(|e| error("")(e.into()))?;
        let paths = written.into_iter().map(|(name, mut temporary)| {
            rustix::fs::renameat(&self.directory, &*temporary.name, &self.directory, name)
                .map_err(|e| error(name)(e.into()))?;
            temporary.renamed = true;
            Ok(self.path.join(name))
        });
        let paths = paths.collect();
        let synced = rustix::fs::fsync(&self.directory);
        // Unlocking cannot fail in a way that matters: closing the directory unlocks it too.
        let _ = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
        // Some file systems cannot sync a directory (EINVAL); then renaming is all one can do.
        match synced {
            Err(e) if e != Errno::INVAL => Err(error("")(e.into())),
            _ => paths,
        }
    }

    /// A new temporary file, locked so that nobody takes it for a leftover.
    fn temporary(&self) -> io::Result<Temporary<'_>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
            let name = format!("{}{:016x}{}", TEMPORARY.0, u64::from_ne_bytes(random), TEMPORARY.1);
            let file = match rustix::fs::openat(&self.directory, &*name, flags, Mode::from_raw_mode(0o666)) {
                Err(Errno::EXIST) => continue,
                file => File::from(file?),
            };
            let temporary = Temporary { directory: &self.directory, name, file, renamed: false };
            // Not every file system has locks; without them leftovers are only not told apart.
            if rustix::fs::flock(&temporary.file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                continue;
            }
            // Between making and locking another agent may have removed it as a leftover.
            if rustix::fs::fstat(&temporary.file)?.st_nlink == 0 {
                continue;
            }
            change_owner(&temporary.file, self.rights.owner())?;
            return Ok(temporary);
        }
    }
}

/// Removes temporary files that nobody holds a lock on: those of killed agents.
fn remove_stale(directory: &OwnedFd) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_temporary(name) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // A leftover that stays is no harm.
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

fn is_temporary(name: &CStr) -> bool {
    name.to_str().is_ok_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1))
}

/// Waits until all of the files are on the disk: side by side, so that a journal writes them in one go.
fn sync<'n>(written: &[(&'n str, Temporary<'_>)]) -> Result<(), (&'n str, io::Error)> {
    std::thread::scope(|scope| {
        let start = written.iter().map(|(name, temporary)| (*name, scope.spawn(|| temporary.file.sync_all())));
        // All are started before the first is waited for.
        let started: Vec<_> = start.collect();
        started.into_iter().try_for_each(|(name, thread)| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic)).map_err(|error| (name, error))
        })
    })
}

/// A temporary file, removed unless it was renamed.
struct Temporary<'a> {
    directory: &'a OwnedFd,
    name: String,
    file: File,
    renamed: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // It may be gone already; nothing else can be done about it here.
            let _ = rustix::fs::unlinkat(self.directory, &*self.name, AtFlags::empty());
        }
    }
}

/// Runs `act` once with `rights`, and never with others.
fn with_rights<T>(
    rights: &dyn Rights,
    path: &Path,
    act: impl FnOnce() -> Result<T, OutputError>,
) -> Result<T, OutputError> {
    let mut act = Some(act);
    let mut result = None;
    let taken = rights.with(&mut || {
        if let Some(act) = act.take() {
            result = Some(act());
        }
    });
    let source = taken.err().unwrap_or_else(|| io::ErrorKind::PermissionDenied.into());
    result.unwrap_or_else(|| Err(OutputError::Directory { path: path.into(), source }))
}

fn change_owner(file: impl std::os::fd::AsFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}
