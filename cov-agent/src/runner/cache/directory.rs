//! The directory of the entries: nobody's but ours, and not too big.

use super::CacheError;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How the names of entries end.
pub(super) const ENDING: &str = ".plan";
/// How those of entries begin that are being written.
const UNFINISHED: &str = ".new-";
/// After so many seconds nobody writes to it any more.
const ABANDONED: u64 = 3600;
/// A bigger entry is none of ours.
const MAX_ENTRY: u64 = 1 << 30;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    open: OwnedFd,
    max_bytes: u64,
}

/// Whether a file is ours alone.
fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

impl Directory {
    /// Opens the directory at `path`, or makes it.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Self, CacheError> {
        let failed = |source: io::Error| CacheError::Open { path: path.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let stat = rustix::fs::fstat(&open).map_err(|error| failed(error.into()))?;
        if !is_ours(&stat) {
            return Err(CacheError::Unsafe { path: path.to_path_buf() });
        }
        Ok(Self { open, max_bytes })
    }

    /// The bytes of an entry, which becomes the last used.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.open, name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || !is_ours(&stat) || stat.st_nlink != 1 || u64::try_from(stat.st_size).unwrap_or(0) > MAX_ENTRY {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // Where the time cannot be set it is dropped early.
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: access, last_modification: now });
        let mut bytes = Vec::new();
        (&file).take(MAX_ENTRY).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes an entry, whole or not at all, and drops others if all together are too big.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{}-{name}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.open, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file.write_all(bytes);
        let placed = written.and_then(|()| Ok(rustix::fs::renameat(&self.open, &unfinished, &self.open, name)?));
        if placed.is_err() {
            rustix::fs::unlinkat(&self.open, &unfinished, AtFlags::empty())?;
        }
        placed.and_then(|()| self.evict())
    }

    /// Drops the least used entries until what is left is a quarter smaller than it may be, and what nobody finished.
    fn evict(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        for found in Dir::read_from(&self.open)? {
            let found = found?;
            let name = found.file_name();
            let text = name.to_str().unwrap_or_default();
            let unfinished = text.starts_with(UNFINISHED);
            if !unfinished && !text.ends_with(ENDING) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&self.open, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if !unfinished {
                let used = (stat.st_mtime, stat.st_mtime_nsec);
                entries.push((used, u64::try_from(stat.st_size).unwrap_or(0), name.to_owned()));
            } else if now.saturating_sub(u64::try_from(stat.st_mtime).unwrap_or(0)) > ABANDONED {
                rustix::fs::unlinkat(&self.open, name, AtFlags::empty())?;
            }
        }
        let mut bytes: u64 = entries.iter().map(|(_, size, _)| size).sum();
        if bytes <= self.max_bytes {
            return Ok(());
        }
        entries.sort();
        for (_, size, name) in entries {
            if bytes <= self.max_bytes / 4 * 3 {
                break;
            }
            rustix::fs::unlinkat(&self.open, &*name, AtFlags::empty())?;
            bytes -= size;
        }
        Ok(())
    }
}
