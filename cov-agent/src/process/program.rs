//! A program that runs as a child of this process.

use super::child::{self, REPORT, Step};
use super::pidfd::{self, Change};
use super::{LaunchError, Signals, signals};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::read;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::task::Poll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it.
    Killed {
        /// The signal.
        signal: i32,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl Ending {
    /// What wait(2) tells of a process that has ended.
    #[must_use]
    pub fn of_status(status: u32) -> Self {
        match (status & 0x7f).cast_signed() {
            0 => Self::Exited((status >> 8 & 0xff).cast_signed()),
            signal => Self::Killed { signal, core: status & 0x80 != 0 },
        }
    }

    /// The exit code that passes it on: the program's own, or 128+N as a shell says it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code & 0xff,
            Self::Killed { signal, .. } => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Killed { signal, core } => {
                match nix::sys::signal::Signal::try_from(signal) {
                    Ok(name) => write!(f, "killed by {name}")?,
                    Err(_) => write!(f, "killed by signal {signal}")?,
                }
                f.write_str(if core { ", core dumped" } else { "" })
            }
        }
    }
}

/// What happens to a [`Program`].
#[derive(Debug)]
pub enum ProgramEvent {
    /// It is being executed now.
    Executing,
    /// It could not be executed; no instruction of it ran.
    NotExecuted(LaunchError),
    /// It has ended.
    Ended(Ending),
}

/// A released program. Signals that are sent to this process reach it while its events are awaited.
#[derive(Debug)]
pub struct Program {
    pid: u32,
    process: OwnedFd,
    signals: Signals,
    report: Option<Report>,
    interpreter: Option<PathBuf>,
    ended: bool,
    events: VecDeque<ProgramEvent>,
}

/// What the child tells until it is the program, and what is needed to say it to a person.
#[derive(Debug)]
pub(super) struct Report {
    pub pipe: OwnedFd,
    pub program: OsString,
    pub user: Option<String>,
    pub interpreter: Option<PathBuf>,
}

impl Program {
    pub(super) fn new(pid: u32, process: OwnedFd, signals: Signals, report: Report) -> Self {
        let interpreter = report.interpreter.clone();
        let (report, events) = (Some(report), VecDeque::new());
        Self { pid, process, signals, report, interpreter, ended: false, events }
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the next thing that happens. Meanwhile passes signals on, and stops when the program
    /// stops. Needs a tokio runtime with I/O, see [`block_on`]; it may be cancelled at any time.
    ///
    /// # Errors
    /// When the system fails.
    pub async fn event(&mut self) -> io::Result<ProgramEvent> {
        loop {
            self.look()?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.wait().await?;
        }
    }

    /// Whether the file that the process executes is `file`; for a script, its interpreter is no
    /// other file than expected. To be asked after [`ProgramEvent::Executing`]: between finding a
    /// program and executing it, its path may have been given to another file.
    ///
    /// # Errors
    /// When that cannot be known, for instance since the process has ended.
    pub fn executes(&self, file: &File) -> io::Result<bool> {
        let runs = std::fs::metadata(format!("/proc/{}/exe", self.pid))?;
        let expected = match &self.interpreter {
            Some(interpreter) => std::fs::metadata(interpreter)?,
            None => file.metadata()?,
        };
        Ok((runs.dev(), runs.ino()) == (expected.dev(), expected.ino()))
    }

    /// Takes note of what the child reports.
    fn hear(&mut self) -> io::Result<()> {
        if let Some(report) = &self.report
            && let Some(event) = report.read()?
        {
            self.events.push_back(event);
            self.report = None;
        }
        Ok(())
    }

    /// Takes note of all that has happened.
    fn look(&mut self) -> io::Result<()> {
        self.hear()?;
        while let Some(received) = self.signals.next()? {
            if received.is_for(self.pid) {
                pidfd::send(&self.process, received.signal)?;
            }
        }
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
        while !self.ended {
            let Some(change) = pidfd::wait(&self.process, flags)? else { break };
            match change {
                Change::Continued => {}
                Change::Stopped(signal) => {
                    signals::stop_oneself(signal)?;
                    // Whoever continued this process meant the program; mostly the whole group was.
                    // One that has ended meanwhile has no such change any more.
                    let continued = match pidfd::wait(&self.process, libc::WCONTINUED | libc::WNOHANG) {
                        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => true,
                        change => change?.is_some(),
                    };
                    if !continued {
                        pidfd::send(&self.process, libc::SIGCONT)?;
                    }
                }
                Change::Ended(ending) => {
                    self.ended = true;
                    // It may have executed and ended since the look at its report, which others may hold open.
                    self.hear()?;
                    self.events.extend(self.report.take().map(|_| ProgramEvent::Executing));
                    // Why it was not executed says more than how the waiting process then ended.
                    if !matches!(self.events.back(), Some(ProgramEvent::NotExecuted(_))) {
                        self.events.push_back(ProgramEvent::Ended(ending));
                    }
                }
            }
        }
        Ok(())
    }

    async fn wait(&self) -> io::Result<()> {
        let report = self.report.as_ref().map(|report| report.pipe.as_fd());
        any_readable([self.process.as_fd(), self.signals.as_fd()].into_iter().chain(report)).await
    }
}

impl Report {
    /// What has become of the execution, if that is known.
    fn read(&self) -> io::Result<Option<ProgramEvent>> {
        fcntl(&self.pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut report = [0; REPORT];
        match read(&self.pipe, &mut report) {
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
            // Closed on exec, or the process was killed before.
            Ok(0) => Ok(Some(ProgramEvent::Executing)),
            Ok(_) => Ok(Some(ProgramEvent::NotExecuted(self.error(report)))),
        }
    }

    fn error(&self, report: [u8; REPORT]) -> LaunchError {
        let (step, errno) = child::read_report(report);
        let program = self.program.clone();
        match (step, errno) {
            (Step::Identity, errno) => {
                LaunchError::Identity { name: self.user.clone().unwrap_or_default(), source: errno.into() }
            }
            // The file was there a moment ago, so it is mostly what the file asks for that is not.
            (Step::Execute, Errno::ENOENT) => match &self.interpreter {
                Some(interpreter) => LaunchError::NoInterpreter { program, interpreter: interpreter.into() },
                None => LaunchError::NotFound { program },
            },
            (Step::Execute, errno) => LaunchError::NotExecutable { program, source: errno.into() },
        }
    }
}

/// Waits until one of `fds` can be read. Needs a tokio runtime with I/O; may be cancelled.
///
/// # Errors
/// When the system gives no descriptors.
pub async fn any_readable<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    let watched = fds.map(watch).collect::<io::Result<Vec<_>>>()?;
    std::future::poll_fn(|context| {
        let ready = watched.iter().any(|fd| fd.poll_read_ready(context).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(())
}

/// Waits until `fd` is readable. Needs a tokio runtime with I/O; may be cancelled.
///
/// # Errors
/// When the system gives no descriptors.
pub async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    any_readable(std::iter::once(fd)).await
}

/// A copy of `fd` that tasks can wait for.
fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let copy = fd.try_clone_to_owned()?;
    // SAFETY: the copy is owned by what watches it, which is therefore open as long as that lives.
    #[expect(unsafe_code, reason = "tokio has no safe way for descriptors, even owned ones")]
    let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
    Ok(watched?)
}

/// Runs `future` on a runtime of this thread alone.
///
/// # Errors
/// When the system gives no descriptors.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(runtime.block_on(future))
}
