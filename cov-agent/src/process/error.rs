//! Why a program could not be launched or attached to.

use std::ffi::OsString;
use std::io;

/// Why a program was not launched. [`exit_code`](LaunchError::exit_code) is what a shell would give.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such program.
    #[error("{}: not found{}", program.display(), if program.as_encoded_bytes().contains(&b'/') { "" } else { " in PATH" })]
    NotFound {
        /// The program as it was named.
        program: OsString,
    },

    /// The program is there, but what its first line or its header asks for is not.
    #[error("{}: its interpreter, {}, does not exist", program.display(), interpreter.display())]
    NoInterpreter {
        /// The program as it was named.
        program: OsString,
        /// The interpreter.
        interpreter: OsString,
    },

    /// The program is there but cannot be executed.
    #[error("{}: cannot be executed", program.display())]
    NotExecutable {
        /// The program as it was named.
        program: OsString,
        /// What the kernel said.
        source: io::Error,
    },

    /// The program, an argument or the environment holds a null byte.
    #[error("{}: holds a null byte", text.display())]
    NullByte {
        /// What holds it.
        text: OsString,
    },

    /// No such user.
    #[error("there is no user {}", name.display())]
    NoSuchUser {
        /// The name as it was given.
        name: OsString,
    },

    /// The agent may not become another user.
    #[error("cannot become user {name}; this needs root")]
    Identity {
        /// The user.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },

    /// The program was killed before it was released.
    #[error("{}: ended before it began", program.display())]
    Ended {
        /// The program as it was named.
        program: OsString,
        /// How.
        ending: super::Ending,
    },

    /// The system failed.
    #[error("{doing} failed")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl LaunchError {
    /// The exit code that tells of this: 127 not found, 126 not executable, 128+N where it was
    /// killed, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Ended { ending, .. } => ending.exit_code(),
            Self::NullByte { .. } | Self::NoSuchUser { .. } | Self::Identity { .. } | Self::System { .. } => 125,
        }
    }

    /// For `map_err`: a failure of the system while `doing` something.
    pub(super) fn system(doing: &'static str) -> impl Fn(nix::errno::Errno) -> Self {
        move |errno| Self::System { doing, source: errno.into() }
    }
}

/// Why a process could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No process has this number.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// Its number.
        pid: u32,
    },

    /// The number is that of a thread.
    #[error("{pid} is a thread of process {process}: attach to that")]
    Thread {
        /// The thread's number.
        pid: u32,
        /// Its process's number.
        process: u32,
    },

    /// The process has ended; its parent has not yet asked how.
    #[error("process {pid} has ended")]
    Ended {
        /// Its number.
        pid: u32,
    },

    /// The process has no program.
    #[error("process {pid} is a thread of the kernel: it runs no program")]
    KernelThread {
        /// Its number.
        pid: u32,
    },

    /// This is the agent.
    #[error("process {pid} is the agent itself")]
    Oneself {
        /// Its number.
        pid: u32,
    },

    /// The agent may not look into the process.
    #[error("process {pid}: not permitted; run as its user with CAP_SYS_PTRACE, or as root")]
    NotPermitted {
        /// Its number.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },

    /// The system failed.
    #[error("process {pid}: {doing} failed")]
    System {
        /// Its number.
        pid: u32,
        /// What was attempted.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl AttachError {
    /// For `map_err`: what a failure while `doing` something with `pid` means.
    pub(super) fn system(pid: u32, doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::NoSuchProcess { pid },
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { pid, source },
            _ => Self::System { pid, doing, source },
        }
    }
}
