//! Leaving the disarming of probes to another process, which holds copies of their descriptors until
//! this one has ended.
//!
//! - Whoever closes the last descriptor of an armed probe waits for a grace period of the kernel, tens
//!   of milliseconds, and a process that ends closes all of its own before its parent hears of it.
//! - Where a process is killed and its end closes the last descriptor, the kernel fails to take the
//!   breakpoints away (a fatal signal is pending when it asks for the pages): they stay in the file's
//!   mappings, old and new, until the machine is started again. The other process is not killed.
#![expect(unsafe_code, reason = "system calls after fork(2), where nothing else is allowed")]

use super::pidfd;
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// A process that keeps probes armed until this one has ended, or dropped this.
#[derive(Debug)]
pub struct Linger {
    process: Pid,
    /// Its end is what ends the process.
    pipe: OwnedFd,
}

impl Linger {
    /// Makes a process that keeps the descriptors of this process's probes open until it has ended, but for those in
    /// `others`, which afterwards are all that there are. To be called when they are armed. The other process has
    /// nothing else open, and a session of its own. `None` where there are no such descriptors.
    ///
    /// The first process of a pid namespace does its own disarming: all others are killed when it ends.
    ///
    /// # Errors
    /// When the system fails; then closing takes its time here.
    pub fn new(others: &mut BTreeSet<RawFd>) -> io::Result<Option<Self>> {
        let all = probe_descriptors()?;
        let mut kept: Vec<RawFd> = all.difference(others).copied().collect();
        *others = all;
        let own = std::process::id();
        if kept.is_empty() || own == 1 {
            return Ok(None);
        }
        let own = pidfd::open(own.cast_signed())?;
        let (ended, pipe) = pipe2(OFlag::O_CLOEXEC)?;
        kept.extend([own.as_raw_fd(), ended.as_raw_fd()]);
        kept.sort_unstable();
        // SAFETY: the child calls only what may be called after fork, and never returns.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Some(Self { process: child, pipe })),
            // SAFETY: this is the child right after fork.
            ForkResult::Child => unsafe { hold_until_ended(&kept, [own.as_raw_fd(), ended.as_raw_fd()]) },
        }
    }

    /// Ends it, and waits until what nobody else holds is disarmed.
    ///
    /// # Errors
    /// When the system fails.
    pub fn end(self) -> io::Result<()> {
        drop(self.pipe);
        waitpid(self.process, None)?;
        Ok(())
    }
}

/// The descriptors of links and perf events.
fn probe_descriptors() -> io::Result<BTreeSet<RawFd>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        if target.starts_with("anon_inode:") && (target.contains("bpf_link") || target.contains("perf_event")) {
            found.extend(entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
        }
    }
    Ok(found)
}

/// The child's way. `kept` is sorted and not empty; one of `watched` tells when it is over.
///
/// # Safety
/// Only in a child right after fork(2).
unsafe fn hold_until_ended(kept: &[RawFd], watched: [RawFd; 2]) -> ! {
    let close = |first: RawFd, last: RawFd| {
        if first <= last {
            // SAFETY: takes integers. Nothing in this process uses what is closed.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    let mut next = 0;
    for &fd in kept {
        close(next, fd - 1);
        next = fd + 1;
    }
    close(next, RawFd::MAX);
    let mut ended = watched.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: `ended` is valid; then the process ends. Blocked signals stay blocked.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"cov-disarm".as_ptr());
        while libc::poll(ended.as_mut_ptr(), 2, -1) == -1 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(0)
    }
}
