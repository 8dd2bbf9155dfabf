//! What this process inherited and has changed since, so that a program can be given what it would
//! have inherited without the agent.
//!
//! Rust's runtime ignores SIGPIPE and opens closed standard descriptors before `main`. So this is
//! noted earlier, by a constructor that the C library runs.
#![expect(unsafe_code, reason = "a constructor, and signal calls that no wrapper has")]

use std::ptr;
use std::sync::OnceLock;

/// Signals are numbered from 1 to this.
const LAST_SIGNAL: i32 = 64;

/// The kernel's own `struct sigaction` (x86-64 and aarch64). The C library's call refuses the signals
/// it keeps for itself, which are inherited like all others.
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

impl Action {
    fn of(signal: i32) -> Self {
        let mut action = Self::default();
        // SAFETY: asks only; `action` is valid for writing.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, ptr::null::<Self>(), &raw mut action, size_of::<u64>());
        }
        action
    }

    fn set(&self, signal: i32) {
        // SAFETY: `self` is valid, and its handler runs no code. What cannot be set (SIGKILL and
        // SIGSTOP) gives an error, which is right.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const *self, ptr::null::<Self>(), size_of::<u64>());
        }
    }
}

/// What was inherited.
#[derive(Clone, Copy)]
pub(super) struct Inherited {
    /// Bit n-1: signal n was ignored.
    ignored: u64,
    /// The blocked signals.
    mask: libc::sigset_t,
    /// Bit n: standard descriptor n was closed.
    closed: u8,
    /// Limits on open files, which the agent may raise for itself.
    files: libc::rlimit,
    /// The signal for the death of the parent (`PR_SET_PDEATHSIG`), which fork(2) forgets.
    parent_death: libc::c_int,
}

// SAFETY: integers and a structure of integers.
unsafe impl Send for Inherited {}
// SAFETY: the same.
unsafe impl Sync for Inherited {}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = {
    extern "C" fn note() {
        get();
    }
    note
};

/// What was inherited.
pub(super) fn get() -> &'static Inherited {
    INHERITED.get_or_init(Inherited::now)
}

impl Inherited {
    fn now() -> Self {
        let mut ignored = 0;
        for signal in 1..=LAST_SIGNAL {
            if Action::of(signal).handler == libc::SIG_IGN {
                ignored |= 1 << (signal - 1);
            }
        }
        // SAFETY: all zeros is a value of each; the calls fill them in.
        let (mut mask, mut files) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut parent_death = 0;
        // SAFETY: both are valid for writing.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut mask);
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files);
            libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut parent_death);
        }
        let closed = (0..3u8).filter(|fd| {
            // SAFETY: takes integers.
            unsafe { libc::fcntl((*fd).into(), libc::F_GETFD) == -1 }
        });
        Self { ignored, mask, closed: closed.fold(0, |bits, fd| bits | 1 << fd), files, parent_death }
    }

    /// Makes the calling process as it was. Async-signal-safe: for a child after fork(2).
    pub(super) fn restore(&self) {
        for signal in 1..=LAST_SIGNAL {
            let ignore = self.ignored >> (signal - 1) & 1 == 1;
            let handler = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
            Action { handler, ..Action::default() }.set(signal);
        }
        for fd in (0..3).filter(|fd| self.closed >> fd & 1 == 1) {
            // SAFETY: nothing in the child uses the descriptor that the runtime put there.
            unsafe {
                libc::close(fd);
            }
        }
        // SAFETY: structures are valid, the rest are integers.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, self.parent_death);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.files);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut());
        }
    }
}
