//! Processes by descriptor: a number may be given to another process, a descriptor may not.

use super::Ending;
use nix::errno::Errno;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// What a child process has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It has ended.
    Ended(Ending),
    /// The signal has stopped it.
    Stopped(i32),
    /// It goes on.
    Continued,
}

/// Opens the process `pid`.
pub(super) fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    #[expect(unsafe_code, reason = "pidfd_open(2) has no wrapper")]
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has just made this descriptor, which is closed on exec.
    #[expect(unsafe_code, reason = "the number becomes a descriptor")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a process has ended: its descriptor can then be read.
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Sends a signal. No error if the process has ended.
pub(super) fn send(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let fd = process.as_raw_fd();
    // SAFETY: takes integers; the pointer may be null.
    #[expect(unsafe_code, reason = "pidfd_send_signal(2) has no wrapper")]
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What a child has done since it was asked last; `None` if nothing.
///
/// `flags` are those of waitid(2). nix's own wrapper knows no real-time signals.
pub(super) fn wait(child: &OwnedFd, flags: i32) -> io::Result<Option<Change>> {
    // SAFETY: all zeros is a valid value of this structure of integers and pointers.
    #[expect(unsafe_code, reason = "a C structure to be filled in")]
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let fd = child.as_raw_fd().cast_unsigned();
    loop {
        // SAFETY: `info` is valid for writing.
        #[expect(unsafe_code, reason = "waitid(2)")]
        let result = unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, flags) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // SAFETY: waitid has filled in the fields that SIGCHLD has, or left them 0.
    #[expect(unsafe_code, reason = "a union in the C structure")]
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => Change::Ended(Ending::Exited(status)),
        libc::CLD_KILLED => Change::Ended(Ending::Killed { signal: status, core: false }),
        libc::CLD_DUMPED => Change::Ended(Ending::Killed { signal: status, core: true }),
        libc::CLD_CONTINUED => Change::Continued,
        _ => Change::Stopped(status),
    }))
}
