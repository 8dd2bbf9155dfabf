//! Whether a signal was sent to the whole process group, or to this process alone.
//!
//! What is sent to the group (`kill -TERM -- -PGID`) the program has got too; what is sent to the agent
//! alone must be passed on. The kernel tells the receiver of both the same. So another process stands
//! in the group, with all these signals blocked, and is asked whether it got the signal as well.
#![expect(unsafe_code, reason = "system calls after fork(2), where nothing else is allowed")]

use super::procfs;
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, Pid, fork, getpgrp, setpgid};
use std::ffi::CStr;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::Duration;

/// How long an answer may take: the witness has nothing else to do, but it may have been stopped.
const PATIENCE: Duration = Duration::from_secs(1);

const NAME: &CStr = c"cov-witness";

/// The other process. It ends with this one.
#[derive(Debug)]
pub(super) struct Witness {
    socket: UnixStream,
    /// The signals, a bit each, that it got and this process has not read yet.
    got: u64,
}

impl Witness {
    /// Makes the process. `signals` must be blocked, and are what it watches for.
    pub(super) fn new(signals: &SigSet) -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let arguments = procfs::own_arguments()?;
        // SAFETY: the child calls only what may be called after fork, and never returns.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => Ok(Self { socket, got: 0 }),
            // SAFETY: this is the child right after fork.
            ForkResult::Child => unsafe { testify(other.as_raw_fd(), signals, arguments) },
        }
    }

    /// Whether the signal that this process has just read came to the group. A witness that does not
    /// answer has seen nothing: better a signal twice than never.
    pub(super) fn saw(&mut self, signal: i32) -> bool {
        let bit = bit(signal);
        // A sender goes through the group with the kernel's list of tasks locked. This changes nothing
        // but must lock it too, so whoever has sent the signal is through.
        let _ = setpgid(Pid::from_raw(0), getpgrp());
        let mut answer = [0; 8];
        // Asked even if it is known: two signals may have become one here, and must there.
        if self.socket.write_all(&[0]).and_then(|()| self.socket.read_exact(&mut answer)).is_ok() {
            self.got |= u64::from_ne_bytes(answer);
        }
        let saw = self.got & bit != 0;
        self.got &= !bit;
        saw
    }
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal).ok().and_then(|signal| 1u64.checked_shl(signal)).unwrap_or(0)
}

/// The child's way: for every byte, the signals that have come since the one before. Ends when the
/// other end is closed.
///
/// # Safety
/// Only in a child right after fork(2). `arguments` is where its command line lies.
unsafe fn testify(socket: RawFd, signals: &SigSet, arguments: Range<usize>) -> ! {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut byte = 0u8;
    // SAFETY: the calls take integers and pointers to what lives here; the command line is this
    // process's own memory, for writing, and nothing reads it. Nothing in this process uses the
    // descriptors that are closed; a program's reader must not wait for this process.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, socket - 1, 0);
        libc::syscall(libc::SYS_close_range, socket + 1, RawFd::MAX, 0);
        // Also on the command line: `pkill -f cov-agent` must find the agent alone.
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let line: *mut u8 = ptr::with_exposed_provenance_mut(arguments.start);
        ptr::write_bytes(line, 0, arguments.len());
        ptr::copy_nonoverlapping(NAME.as_ptr().cast(), line, NAME.count_bytes().min(arguments.len()));
        loop {
            match libc::read(socket, (&raw mut byte).cast(), 1) {
                1 => {}
                -1 if *libc::__errno_location() == libc::EINTR => continue,
                _ => libc::_exit(0),
            }
            let mut got = 0u64;
            loop {
                let signal = libc::sigtimedwait(signals.as_ref(), ptr::null_mut(), &raw const now);
                if signal > 0 {
                    got |= bit(signal);
                } else if *libc::__errno_location() != libc::EINTR {
                    break;
                }
            }
            libc::write(socket, (&raw const got).cast(), size_of::<u64>());
        }
    }
}
