//! Files that come to be while the agent measures: fanotify(7) tells their names, and nobody waits for it.
#![expect(unsafe_code, reason = "fanotify_init(2), fanotify_mark(2) and open_by_handle_at(2) have no wrappers")]

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const METADATA: usize = size_of::<libc::fanotify_event_metadata>();
/// The header of an information record, and the file system's number behind it.
const RECORD: usize = 4 + 8;
/// Fits several events with the longest names.
const BUFFER: usize = 1 << 14;

/// Files written or moved into place on the file systems of some directories.
#[derive(Debug)]
pub struct Created {
    group: OwnedFd,
    /// A directory on each file system.
    roots: Vec<File>,
}

impl Created {
    /// Begins to listen on the file systems that `directories` lie on.
    ///
    /// # Errors
    /// fanotify refuses: no privilege, or a kernel before 5.9.
    pub fn beside<'a>(directories: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_REPORT_DFID_NAME;
        // SAFETY: no pointers are passed; the result is checked and owned by nobody else.
        let group = unsafe {
            let fd = libc::fanotify_init(flags, (libc::O_RDONLY | libc::O_LARGEFILE).unsigned_abs());
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let mut roots = Vec::new();
        let mut devices = BTreeSet::new();
        for directory in directories {
            let Ok(root) = File::open(directory) else { continue };
            if devices.insert(root.metadata()?.dev()) {
                mark(group.as_fd(), directory)?;
                roots.push(root);
            }
        }
        Ok(Self { group, roots })
    }

    /// The files that have come to be since the last call, of names that `wanted` likes; regular files only. Whether some
    /// were missed, since too many came at once, is told too.
    ///
    /// # Errors
    /// When the system fails.
    pub fn next(&self, wanted: &dyn Fn(&OsStr) -> bool) -> io::Result<(Vec<File>, bool)> {
        let (mut files, mut missed) = (Vec::new(), false);
        let mut buffer = vec![0_u8; BUFFER];
        loop {
            let length = match rustix::io::read(&self.group, &mut *buffer) {
                Ok(length) => length,
                Err(rustix::io::Errno::AGAIN) => return Ok((files, missed)),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut events = buffer.get(..length).unwrap_or_default();
            while let Some((event, rest)) = split(events) {
                events = rest;
                match parse(event) {
                    Some((handle, name)) if wanted(name) => files.extend(self.open(handle, name)),
                    Some(_) => {}
                    None => missed = true,
                }
            }
        }
    }

    /// The file `name` in the directory of that handle; `None` if it has gone again, or is no regular file.
    fn open(&self, handle: &[u8], name: &OsStr) -> Option<File> {
        self.roots.iter().find_map(|root| {
            let directory = by_handle(root.as_fd(), handle)?;
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            // To open a pipe would wake those who wait at it.
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return None;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
            rustix::fs::openat(&directory, name, flags, Mode::empty()).ok().map(File::from)
        })
    }
}

impl AsFd for Created {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

fn mark(group: BorrowedFd<'_>, directory: &Path) -> io::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let events = libc::FAN_CLOSE_WRITE | libc::FAN_MOVED_TO;
    // SAFETY: `path` ends with a NUL and outlives the call.
    let result = unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, events, libc::AT_FDCWD, path.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The directory of a `struct file_handle`, whose length the caller has checked, on the file system of `root`.
fn by_handle(root: BorrowedFd<'_>, handle: &[u8]) -> Option<OwnedFd> {
    // Aligned as the structure is.
    let mut words = vec![0_u32; handle.len().div_ceil(4)];
    for (word, bytes) in words.iter_mut().zip(handle.chunks(4)) {
        let mut whole = [0; 4];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        *word = u32::from_ne_bytes(whole);
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle is as long as its first word says; the result is checked and owned by nobody else.
    unsafe {
        let fd = libc::open_by_handle_at(root.as_raw_fd(), words.as_mut_ptr().cast(), flags);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// The first event in `bytes`, and what is behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    (length >= METADATA).then_some(())?;
    bytes.split_at_checked(length)
}

/// The directory's handle (`struct file_handle`) and the name in an event; `None` if it has none, as when the queue
/// overflowed.
fn parse(event: &[u8]) -> Option<(&[u8], &OsStr)> {
    let record = event.get(METADATA..)?;
    let (&kind, _) = record.split_first()?;
    let length = usize::from(u16::from_ne_bytes(*record.get(2..)?.first_chunk()?));
    (kind == libc::FAN_EVENT_INFO_TYPE_DFID_NAME).then_some(())?;
    let rest = record.get(RECORD..length)?;
    let bytes = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    let (handle, name) = rest.split_at_checked(bytes.checked_add(8)?)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((handle, OsStr::from_bytes(name.get(..end)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_when_they_are_closed_or_moved() {
        let directory = tempfile::tempdir().unwrap();
        // Without the privilege there is nothing to test.
        let Ok(created) = Created::beside([directory.path()]) else { return };
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("libx.so"), "x").unwrap();
        std::fs::write(path("other"), "y").unwrap();
        std::fs::rename(path("other"), path("liby.so")).unwrap();
        std::fs::write(path("gone.so"), "").unwrap();
        std::fs::remove_file(path("gone.so")).unwrap();
        let mine: Vec<&OsStr> = ["libx.so", "liby.so", "gone.so"].map(OsStr::new).to_vec();
        let (files, _) = created.next(&|name| mine.contains(&name)).unwrap();
        let inodes: Vec<u64> = files.iter().map(|file| file.metadata().unwrap().ino()).collect();
        let expected = ["libx.so", "liby.so"].map(|name| std::fs::metadata(path(name)).unwrap().ino());
        assert_eq!(inodes, expected);
        assert!(created.next(&|name| mine.contains(&name)).unwrap().0.is_empty());
    }

    #[test]
    fn damaged_events_are_passed_over() {
        assert!(split(&[1, 0, 0]).is_none() && split(&[8, 0, 0, 0, 0, 0, 0, 0]).is_none());
        let mut event = vec![0; METADATA + 12];
        event[METADATA] = libc::FAN_EVENT_INFO_TYPE_DFID_NAME;
        assert!(parse(&event).is_none());
        event[METADATA + 2] = 255;
        assert!(parse(&event).is_none());
        assert!(parse(&event[..METADATA]).is_none());
    }
}
