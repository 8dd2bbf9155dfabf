//! Forked copies of the test program that run fixtures when they are told to.
#![expect(unsafe_code, reason = "fork(2), and what may be called after it")]

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, write};
use std::os::fd::OwnedFd;

/// A child that waits for its turn, runs, tells that it has, and waits again before it ends.
pub(super) struct Child {
    pid: Pid,
    to: OwnedFd,
    from: OwnedFd,
}

impl Child {
    /// Forks. `body` may only call what is async-signal-safe: the test program has threads.
    pub(super) fn new(body: impl FnOnce()) -> Self {
        let ((to_child, to), (from, from_child)) = (pipe().unwrap(), pipe().unwrap());
        // SAFETY: the child reads, runs the body, writes, and ends without unwinding.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Self { pid: child, to, from },
            ForkResult::Child => {
                let mut byte = [0];
                drop(to);
                let _ = read(&to_child, &mut byte);
                body();
                let _ = write(&from_child, &byte);
                let _ = read(&to_child, &mut byte);
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Tells it to run.
    pub(super) fn go(&self) {
        write(&self.to, &[1]).unwrap();
    }

    /// Waits until it has run.
    pub(super) fn has_run(&self) {
        assert_eq!(read(&self.from, &mut [0]).unwrap(), 1);
    }

    /// Lets it end.
    pub(super) fn end(self) {
        // Later children hold the pipe open too: closing it would tell this one nothing.
        write(&self.to, &[1]).unwrap();
        assert_eq!(waitpid(self.pid, None).unwrap(), WaitStatus::Exited(self.pid, 0));
    }

    /// Kills it while it waits.
    pub(super) fn kill(self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
        assert_eq!(waitpid(self.pid, None).unwrap(), WaitStatus::Signaled(self.pid, Signal::SIGKILL, false));
    }
}

/// Forks, runs `body` in the child, waits for its end. Async-signal-safe.
pub(super) fn in_a_child(body: impl FnOnce()) {
    // SAFETY: the child runs the body and ends without unwinding.
    unsafe {
        match libc::fork() {
            0 => {
                body();
                libc::_exit(0)
            }
            pid => libc::waitpid(pid, std::ptr::null_mut(), 0),
        };
    }
}

/// Lets this process run on processor 0 only. Async-signal-safe.
pub(super) fn pin() {
    // SAFETY: all zeros is an empty set; the rest are its address and size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
