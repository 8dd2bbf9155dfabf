//! What can go wrong between the agent and the kernel, and what a person can do about it.

use std::error::Error;
use std::io;

/// Why the kernel did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The process lacks privileges, or the kernel is locked down.
    #[error(
        "{doing}: not permitted; run as root, or give the agent the capabilities CAP_BPF and CAP_PERFMON \
         (in a container: --privileged, or --cap-add of both); `cov-agent doctor` says what is missing"
    )]
    NotPermitted {
        /// What was attempted.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },

    /// A limit on memory or on locked memory stands in the way.
    #[error("{doing}: no memory; raise the limit of the container or control group, or `ulimit -l` and `ulimit -n`")]
    NoMemory {
        /// What was attempted.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },

    /// The kernel lacks something that the agent cannot do without.
    #[error("this kernel lacks {missing}; Linux 5.15 or newer is needed, 6.6 or newer recommended")]
    TooOld {
        /// What it lacks.
        missing: &'static str,
    },

    /// More objects at the same time than there is room for.
    #[error("more than {limit} objects at the same time: leave some out with --exclude")]
    TooManyObjects {
        /// The limit.
        limit: u32,
    },

    /// More counters in one object than there is room for.
    #[error("an object needs {slots} counters, {limit} is the limit: leave files out with --exclude")]
    TooManyCounters {
        /// What it needs.
        slots: u32,
        /// The limit.
        limit: u32,
    },

    /// The processes that are counted fill their table.
    #[error("process {pid} is not counted: {limit} processes are already")]
    TooManyProcesses {
        /// The process that found no room.
        pid: u32,
        /// The limit.
        limit: u32,
    },

    /// A probe on the agent itself does not fire.
    #[error(
        "a probe on the agent itself was armed, but does not count right; the kernel or a sandbox stands in the way"
    )]
    Silent,

    /// The object was never armed or is no longer.
    #[error("the object is not armed")]
    NotArmed,

    /// Anything else.
    #[error("{doing} failed")]
    Kernel {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ProbeError {
    /// Gives the error of a kernel call the variant that helps most.
    pub(super) fn of(doing: &'static str, error: impl Error + Send + Sync + 'static) -> Self {
        match system_error(&error).map(io::Error::from_raw_os_error) {
            Some(source) if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => {
                Self::NotPermitted { doing, source }
            }
            Some(source) if matches!(source.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE)) => {
                Self::NoMemory { doing, source }
            }
            _ => Self::Kernel { doing, source: Box::new(error) },
        }
    }
}

/// The error number at the bottom of a chain of causes.
pub(super) fn system_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = error.source();
    }
    None
}
