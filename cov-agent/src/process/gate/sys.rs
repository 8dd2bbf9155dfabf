//! fanotify(7), which no library offers without allocating: three system calls and a parser.
#![expect(unsafe_code, reason = "fanotify_init(2), fanotify_mark(2) and descriptors out of events")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The length of `struct fanotify_event_metadata`.
const METADATA: usize = size_of::<libc::fanotify_event_metadata>();

/// One exec, or opening of a watched file, that waits for an answer.
#[derive(Debug)]
pub(super) struct Event {
    /// The file that is to run, or to be opened.
    pub(super) file: OwnedFd,
    /// Whether it is an exec.
    pub(super) exec: bool,
    /// The process that waits, as this process's namespace numbers it; 0 if it has no number there.
    pub(super) process: u32,
}

/// Makes a group that holds execs; its descriptor never blocks, nor do those in its events.
pub(super) fn group() -> io::Result<OwnedFd> {
    // The limit on queued events would make the kernel let execs go unseen; waiting ones are few.
    let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_UNLIMITED_QUEUE;
    let event_flags = libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: no pointers are passed; the result is checked and owned by nobody else.
    unsafe {
        let fd = libc::fanotify_init(flags, event_flags.unsigned_abs());
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// The time in nanoseconds since some moment, the same for all processes of this machine.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec))
}

/// Closes all descriptors but the standard ones: what the agent has inherited is not for this process to keep open.
pub(super) fn close_others() {
    // SAFETY: takes integers. This process has opened nothing yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Whether the other end of a socket has yet to read something that was sent.
pub(super) fn unread(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one integer to where it is told.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    result == 0 && bytes > 0
}

/// Holds every exec of a file on the superblock that is mounted at `point`, below `root`.
pub(super) fn mark(group: BorrowedFd<'_>, root: impl AsFd, point: &Path) -> io::Result<()> {
    let path = CString::new(point.as_os_str().as_bytes())?;
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    // SAFETY: `path` ends with a NUL and outlives the call.
    let result = unsafe {
        libc::fanotify_mark(group.as_raw_fd(), flags, libc::FAN_OPEN_EXEC_PERM, root.as_fd().as_raw_fd(), path.as_ptr())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Holds whoever opens `file`, which must be a regular file: it is opened once more for each event, which is more
/// than looking for anything else.
pub(super) fn watch(group: BorrowedFd<'_>, file: &OwnedFd, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: without a path the descriptor says which file.
    let result = unsafe {
        libc::fanotify_mark(group.as_raw_fd(), flags, libc::FAN_OPEN_PERM, file.as_raw_fd(), std::ptr::null())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the next event out of `bytes`, which read(2) filled from a group. `None` at the end.
/// An event without file (the queue overflowed) is passed over.
pub(super) fn next_event(bytes: &mut &[u8]) -> Option<Event> {
    loop {
        let (length, mask, fd, process) = parse(bytes)?;
        *bytes = &bytes[length..];
        if fd >= 0 {
            // SAFETY: the kernel opened this descriptor for us with the event, and each event is
            // taken from the buffer once.
            let file = unsafe { OwnedFd::from_raw_fd(fd) };
            let exec = mask & libc::FAN_OPEN_EXEC_PERM != 0;
            return Some(Event { file, exec, process: u32::try_from(process).unwrap_or(0) });
        }
    }
}

/// Length, mask, descriptor and process of the event at the beginning of `bytes`.
fn parse(bytes: &[u8]) -> Option<(usize, u64, i32, i32)> {
    // Layout: event_len u32, vers u8, reserved u8, metadata_len u16, mask u64, fd i32, pid i32.
    let head = bytes.get(..METADATA)?;
    let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let length = usize::try_from(word(0)?).ok()?;
    if length < METADATA || length > bytes.len() {
        return None;
    }
    let mask = head.get(8..16)?.try_into().ok().map(u64::from_ne_bytes)?;
    Some((length, mask, word(16)?.cast_signed(), word(20)?.cast_signed()))
}

/// Lets the exec of `file` go on.
pub(super) fn allow(group: BorrowedFd<'_>, file: impl AsFd) -> io::Result<()> {
    let mut response = [0_u8; 8];
    response[..4].copy_from_slice(&file.as_fd().as_raw_fd().to_ne_bytes());
    response[4..].copy_from_slice(&libc::FAN_ALLOW.to_ne_bytes());
    rustix::io::write(group, &response)?;
    Ok(())
}
