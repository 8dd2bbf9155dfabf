//! Launching a program in two steps: first a process that waits, then the program in it.

use super::child::Execution;
use super::executable::Executable;
use super::program::{Ending, Program, Report};
use super::{Identity, LaunchError, Signals, User, inherited, pidfd};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, fork, pipe2, write};
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

/// A program to be run.
///
/// It is given what this process was given when it began: standard streams and all other descriptors,
/// working directory, environment, process group and terminal, ignored and blocked signals, limits.
#[derive(Debug, Clone)]
pub struct Launch {
    /// As in a shell: a path if it has a slash, else a name that is looked for in PATH.
    pub program: OsString,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Whom to run it as: with all of the user's groups, and `HOME`, `SHELL`, `USER` and `LOGNAME` as
    /// at a login. The rest of the environment stays, as does the working directory. `None`: as this
    /// process.
    pub user: Option<User>,
    /// Variables of its environment that have another value than in this process's.
    pub variables: Vec<(&'static str, OsString)>,
}

impl Launch {
    /// Finds the program and makes the process that will run it, which waits. Best called while this
    /// process is small: the new one begins as a copy of it.
    ///
    /// # Errors
    /// When there is no such program, it cannot be executed, or the system fails.
    pub fn hold(&self, mut signals: Signals) -> Result<Held, LaunchError> {
        let own = Identity::own().map_err(|source| LaunchError::System { doing: "asking who runs this", source })?;
        let identity = self.user.as_ref().map(|user| user.identity.clone());
        let executable = Executable::find(&self.program, identity.as_ref().unwrap_or(&own))?;
        let mut variables = self.variables.clone();
        variables.extend(self.user.iter().flat_map(User::variables));
        let execution = Execution::new(&executable, &self.program, &self.args, &variables, identity)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(LaunchError::system("making a pipe"));
        let ((go_in_child, go), (report, report_in_child)) = (pipe()?, pipe()?);
        let inherited = inherited::get();
        signals
            .call_witness()
            .map_err(|source| LaunchError::System { doing: "making the witness of signals", source })?;
        // SAFETY: the child calls only what may be called after fork, and never returns.
        #[expect(unsafe_code, reason = "fork(2), to hold the program before its first instruction")]
        let child = match unsafe { fork() }.map_err(LaunchError::system("fork"))? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // Its own copy of the other end would keep it waiting for ever.
                drop(go);
                // SAFETY: this is the child right after fork.
                unsafe { execution.run(inherited, go_in_child.as_raw_fd(), report_in_child.as_raw_fd()) }
            }
        };
        let process = pidfd::open(child.as_raw())
            .map_err(|source| LaunchError::System { doing: "opening the new process", source })?;
        Ok(Held {
            program: self.program.clone(),
            user: self.user.as_ref().map(|user| user.name.clone()),
            pid: child.as_raw().cast_unsigned(),
            executable,
            held: Some(Parts { process, go, report, signals }),
        })
    }
}

/// A process that waits to become the program. Dropped, it ends without having run anything.
#[derive(Debug)]
pub struct Held {
    program: OsString,
    user: Option<String>,
    pid: u32,
    executable: Executable,
    held: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    process: OwnedFd,
    go: OwnedFd,
    report: OwnedFd,
    signals: Signals,
}

impl Held {
    /// The process's number: what to count.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that it will execute: what to probe.
    #[must_use]
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Lets the process become the program. Signals that came while it was held are given to it first.
    ///
    /// # Errors
    /// If it was killed meanwhile, or the system fails. That it cannot be executed after all is not
    /// known yet: see [`Program::event`].
    pub fn release(mut self) -> Result<Program, LaunchError> {
        let system = |doing| move |source| LaunchError::System { doing, source };
        let Some(Parts { process, go, report, mut signals }) = self.held.take() else {
            return Err(system("releasing the program")(Errno::ESRCH.into()));
        };
        while let Some(received) = signals.next().map_err(system("reading signals"))? {
            if received.is_for(self.pid) {
                pidfd::send(&process, received.signal).map_err(system("passing a signal on"))?;
            }
        }
        match write(&go, &[1]) {
            Ok(_) => {}
            Err(Errno::EPIPE) => {
                let ending = reap(&process).map_err(system("waiting for the program"))?;
                return Err(LaunchError::Ended { program: self.program.clone(), ending });
            }
            Err(errno) => return Err(system("releasing the program")(errno.into())),
        }
        let interpreter = self.executable.interpreter.clone();
        let report = Report { pipe: report, program: self.program.clone(), user: self.user.clone(), interpreter };
        Ok(Program::new(self.pid, process, signals, report))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Parts { process, go, .. }) = self.held.take() {
            drop(go);
            // Nobody is left to tell if this fails.
            let _ = pidfd::send(&process, libc::SIGKILL).and_then(|()| reap(&process));
        }
    }
}

/// Waits for the end of a child.
fn reap(process: &OwnedFd) -> std::io::Result<Ending> {
    loop {
        if let Some(pidfd::Change::Ended(ending)) = pidfd::wait(process, libc::WEXITED)? {
            return Ok(ending);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
