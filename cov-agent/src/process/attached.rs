//! Processes that ran before the agent came: looked at, never stopped.

use super::maps::{self, MappedObjects};
use super::program::any_readable;
use super::{AttachError, Signals, pidfd, procfs};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// What happens while processes are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachedEvent {
    /// This process has ended, others have not.
    Ended {
        /// Its number.
        pid: u32,
    },
    /// The last of the processes has ended.
    AllEnded,
    /// Somebody wants to see what was counted until now: SIGUSR1.
    SnapshotWanted,
    /// A person wants it to end: SIGINT, SIGTERM, SIGHUP or SIGQUIT.
    Interrupted {
        /// The signal.
        signal: i32,
    },
}

/// Running processes.
pub struct Attached {
    processes: Vec<(u32, OwnedFd)>,
    signals: Signals,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("processes", &self.processes).finish_non_exhaustive()
    }
}

impl Attached {
    /// Attaches to processes, each once however often it is named. They go on meanwhile.
    ///
    /// # Errors
    /// If one is not there, has ended, is a thread or belongs to the kernel, or may not be looked into.
    pub fn new(pids: &[u32], signals: Signals) -> Result<Self, AttachError> {
        let mut processes: Vec<(u32, OwnedFd)> = Vec::new();
        for &pid in pids {
            if !processes.iter().any(|(other, _)| *other == pid) {
                processes.push((pid, open(pid)?));
            }
        }
        Ok(Self { processes, signals })
    }

    /// Those that have not ended, as far as [`event`](Self::event) has told.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(|(pid, _)| *pid)
    }

    /// The files whose code the process has mapped now.
    ///
    /// # Errors
    /// If the process has ended or may not be looked into.
    pub fn objects(&self, pid: u32) -> Result<MappedObjects, AttachError> {
        let (_, process) =
            self.processes.iter().find(|(other, _)| *other == pid).ok_or(AttachError::NoSuchProcess { pid })?;
        let objects = maps::objects(pid)?;
        // If it has ended while it was read, the number may already be another's.
        if has_ended(process).map_err(AttachError::system(pid, "looking at it"))? {
            return Err(AttachError::Ended { pid });
        }
        Ok(objects)
    }

    /// Waits for the next thing that happens. Needs a tokio runtime with I/O; it may be cancelled at
    /// any time.
    ///
    /// # Errors
    /// When the system fails.
    pub async fn event(&mut self) -> io::Result<AttachedEvent> {
        loop {
            if let Some(event) = self.look()? {
                return Ok(event);
            }
            self.wait().await?;
        }
    }

    fn look(&mut self) -> io::Result<Option<AttachedEvent>> {
        while let Some(received) = self.signals.next()? {
            if matches!(received.signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) {
                return Ok(Some(AttachedEvent::Interrupted { signal: received.signal }));
            }
            if received.signal == libc::SIGUSR1 {
                return Ok(Some(AttachedEvent::SnapshotWanted));
            }
            if received.signal == libc::SIGTSTP {
                super::signals::stop_oneself(received.signal)?;
            }
        }
        for index in 0..self.processes.len() {
            if self.processes.get(index).map(|(_, process)| has_ended(process)).transpose()? == Some(true) {
                let (pid, _) = self.processes.swap_remove(index);
                let all = self.processes.is_empty();
                return Ok(Some(if all { AttachedEvent::AllEnded } else { AttachedEvent::Ended { pid } }));
            }
        }
        Ok(None)
    }

    async fn wait(&self) -> io::Result<()> {
        let processes = self.processes.iter().map(|(_, process)| process.as_fd());
        any_readable(processes.chain([self.signals.as_fd()])).await
    }
}

fn open(pid: u32) -> Result<OwnedFd, AttachError> {
    if pid == std::process::id() {
        return Err(AttachError::Oneself { pid });
    }
    let number = i32::try_from(pid).ok().filter(|&number| number > 0).ok_or(AttachError::NoSuchProcess { pid })?;
    let process = pidfd::open(number).map_err(|error| match (procfs::process_of(pid), error) {
        (Ok(process), _) if process != pid => AttachError::Thread { pid, process },
        (_, error) => AttachError::system(pid, "opening it")(error),
    })?;
    let stat = procfs::stat(pid).map_err(AttachError::system(pid, "looking at it"))?;
    if stat.of_kernel {
        return Err(AttachError::KernelThread { pid });
    }
    if matches!(stat.state, 'Z' | 'X') {
        return Err(AttachError::Ended { pid });
    }
    Ok(process)
}

/// Whether a process has ended: its descriptor can then be read.
fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}
