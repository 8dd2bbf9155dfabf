//! Signals that reach the agent while a program runs.
//!
//! The program stays in the agent's process group, so what the terminal or anybody sends to the group
//! reaches both: the agent only survives it. What somebody sends to the agent alone is meant for the
//! program.

use super::procfs;
use super::witness::Witness;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What a person sends to a program. Blocked here, read from a descriptor.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// The agent's signals, read one after the other instead of interrupting it.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    /// Who knows whether a signal came to the whole group; `None` where nothing is passed on.
    witness: Option<Witness>,
}

/// A signal that the agent got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Its number.
    pub signal: i32,
    /// Whether the whole process group got it: from the terminal, or from anybody.
    pub to_group: bool,
    /// Who sent it else; 0 if that process has no number here.
    pub sender: u32,
}

impl Signals {
    /// Blocks the signals in this thread and in those it starts from now on: call it before any other
    /// thread is started. They stay blocked: a signal that comes when the program has ended must not
    /// keep its counts from being written.
    ///
    /// # Errors
    /// When the system fails.
    pub fn block() -> io::Result<Self> {
        // Note first what programs are to inherit.
        super::inherited::get();
        let mut set: SigSet = FORWARDED.into_iter().collect();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        // Ignoring it, as the agent may have been told to, would take away children's statuses.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of this process.
        #[expect(unsafe_code, reason = "sigaction(2)")]
        unsafe {
            sigaction(Signal::SIGCHLD, &default)?;
        }
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor, witness: None })
    }

    /// From now on knows which signals came to the whole process group. To be called before the
    /// program's process is made.
    pub(super) fn call_witness(&mut self) -> io::Result<()> {
        self.witness = Some(Witness::new(&FORWARDED.into_iter().collect())?);
        Ok(())
    }

    /// The next signal that has come.
    pub(super) fn next(&mut self) -> io::Result<Option<Received>> {
        let Some(info) = self.descriptor.read_signal()? else { return Ok(None) };
        let signal = info.ssi_signo.cast_signed();
        // The witness is asked in any case, so that it does not remember what is over.
        let seen = signal != libc::SIGCHLD && self.witness.as_mut().is_some_and(|witness| witness.saw(signal));
        // The kernel itself sends these signals only for the terminal, to the whole group.
        Ok(Some(Received { signal, to_group: seen || info.ssi_code == libc::SI_KERNEL, sender: info.ssi_pid }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Received {
    /// Whether it is news of a child, and nothing that anybody sent.
    pub(super) fn is_child(self) -> bool {
        self.signal == Signal::SIGCHLD as i32
    }

    /// Whether the program `pid` must be given it. Not what came to the whole group, nor what it, or a
    /// process it started, sent to its parent.
    pub(super) fn is_for(self, pid: u32) -> bool {
        !self.is_child() && !self.to_group && !procfs::descends(self.sender, pid)
    }
}

/// Stops this process as `signal` has stopped the program, so that the shell notices; returns when
/// somebody continues it.
pub(super) fn stop_oneself(signal: i32) -> io::Result<()> {
    let signal = match Signal::try_from(signal) {
        Ok(signal @ (Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)) => signal,
        _ => Signal::SIGSTOP,
    };
    if signal == Signal::SIGSTOP {
        return Ok(raise(signal)?);
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this process.
    #[expect(unsafe_code, reason = "sigaction(2)")]
    let before = unsafe { sigaction(signal, &default)? };
    let set: SigSet = [signal].into_iter().collect();
    let result: Result<(), Errno> = raise(signal)
        .and_then(|()| set.thread_unblock())
        .and_then(|()| if FORWARDED.contains(&signal) { set.thread_block() } else { Ok(()) });
    // SAFETY: puts back what was there.
    #[expect(unsafe_code, reason = "sigaction(2)")]
    unsafe {
        sigaction(signal, &before)?;
    }
    Ok(result?)
}
