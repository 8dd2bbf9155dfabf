//! What the agent and its kernel programs agree on: map names, cookie layout, counter layout, sizes.
#![no_std]
#![forbid(unsafe_code)]

mod contexts;
mod cookie;
mod counters;
mod flags;
mod mark;
mod python;
mod request;
mod stops;

pub use contexts::{
    ContextKey, ENTERED_BYTES, EXECUTED_BYTES, MAX_CONTEXT_COUNTERS, MAX_CONTEXTS, MAX_UNITS, NEWS_BYTES, News,
    NewsKind, OVER, UnitKey,
};
pub use cookie::{Cookie, MAX_OBJECTS, MAX_SLOTS, MAX_STRIPES_LOG2};
pub use counters::{Striping, index};
pub use flags::holds;
pub use mark::{Act, Layout, Mark, Register, VARIABLES};
pub use python::{
    MAX_PREFIXES, MAX_PYTHON_FILES, MAX_PYTHON_LINES, NAME_BYTES, Operand, PYTHON_FILES, PYTHON_LINES, PYTHON_PREFIXES,
    PythonLine, PythonName,
};
pub use request::{Ask, REQUESTS_BYTES, Request, Spending};
pub use stops::{MAX_STOPS, STOP_FRAMES, STOPS, Stop, StopFrame};

/// Array of maps: for each object its counters, see [`index`].
pub const COUNTERS: &str = "COUNTERS";

/// Hash map: processes that are counted, by process id as the agent's namespace numbers them.
/// The value is the number of the context that the process is in.
pub const TRACKED: &str = "TRACKED";

/// Hash map from [`ContextKey`]: the hits in contexts, which are in no element of [`COUNTERS`].
pub const CONTEXT_COUNTERS: &str = "CONTEXT_COUNTERS";

/// Array of `u64` by context: how many are in it, and [`OVER`].
pub const USERS: &str = "USERS";

/// Queue of the contexts that nobody is in.
pub const FREE: &str = "FREE";

/// Hash map from [`UnitKey`]: threads and goroutines that are in another context than their process.
pub const UNITS: &str = "UNITS";

/// Ring buffer of [`News`] about contexts.
pub const NEWS: &str = "NEWS";

/// Ring buffer of [`Request`]s.
pub const REQUESTS: &str = "REQUESTS";

/// Hash map: what each process of [`TRACKED`] that was hit has spent, a [`Spending`].
pub const SPENDING: &str = "SPENDING";

/// Array of `u64`, indexed by [`Loss`]: what the kernel side could not count.
pub const LOSSES: &str = "LOSSES";

/// Global variable of type [`Config`], set when the programs are loaded.
pub const CONFIG: &str = "CONFIG";

/// Hash map of the processes that were in [`TRACKED`] and have ended, the last of them. The values are of no meaning.
pub const ENDED: &str = "ENDED";

/// How many processes are remembered that have ended.
pub const MAX_ENDED: u32 = 1 << 13;

/// How many processes can be counted at the same time.
pub const MAX_TRACKED: u32 = 1 << 16;

/// What the kernel side could not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// A hit whose counter does not exist.
    NoCounter = 0,
    /// A forked process that found no room in [`TRACKED`].
    NoRoom = 1,
    /// A hit in a context that found no room in [`CONTEXT_COUNTERS`]: it was counted in none.
    Merged = 2,
    /// A context that got no number, since all were taken: its hits count in the one around it.
    NoContext = 3,
    /// News that found no room in [`NEWS`].
    NoNews = 4,
    /// A thread that a signal ended, and that found no room in [`STOPS`].
    NoStop = 5,
}

/// How many kinds of [`Loss`] there are.
pub const LOSS_KINDS: u32 = 6;

/// What the agent finds out about the kernel and tells the programs. Unless said otherwise a member
/// is the byte offset of the structure member that it is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Config {
    /// `task_struct.pid`: the thread's number.
    pub task_pid: u32,
    /// `task_struct.tgid`: the process's number.
    pub task_tgid: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`: how many threads the process has left.
    pub signal_live: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.thread_pid`.
    pub task_thread_pid: u32,
    /// `pid.level`: how deep the namespace lies in which the process was made.
    pub pid_level: u32,
    /// `pid.numbers`: one for each level.
    pub pid_numbers: u32,
    /// The size of `upid`, an element of `pid.numbers`.
    pub upid_size: u32,
    /// `upid.nr`.
    pub upid_nr: u32,
    /// `upid.ns`.
    pub upid_ns: u32,
    /// `pid_namespace.ns.inum`.
    pub ns_inum: u32,
    /// The inode number of the agent's pid namespace; 0 when it is the initial one, whose numbers
    /// the kernel itself uses.
    pub agent_ns: u32,
    /// Not 0: children of counted processes are counted.
    pub follow: u32,
    /// Whether, and how, hits are told apart by context: a sum of the constants of this type.
    pub contexts: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `mm_struct.arg_start`.
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`.
    pub mm_arg_end: u32,
    /// `mm_struct.env_start`.
    pub mm_env_start: u32,
    /// `mm_struct.env_end`.
    pub mm_env_end: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// An [`Ask`].
    pub ask: u32,
    /// What a hit of an emulated instruction costs, in nanoseconds.
    pub emulated_ns: u32,
    /// What a hit of a single-stepped instruction costs, in nanoseconds.
    pub stepped_ns: u32,
    /// What a process may spend on hits in any case, in microseconds.
    pub grace_us: u32,
}

impl Config {
    /// Hits are told apart by context.
    pub const CONTEXTS: u32 = 1;
    /// Each program that is executed begins a context, told with its arguments.
    pub const BY_ARGUMENTS: u32 = 2;
    /// Each program that is executed begins a context, told with its environment.
    pub const BY_ENVIRONMENT: u32 = 4;
    /// Threads and goroutines can be in contexts of their own.
    pub const UNITS: u32 = 8;

    /// As it is before the agent sets it.
    pub const UNSET: Self = Self {
        task_pid: 0,
        task_tgid: 0,
        task_signal: 0,
        signal_live: 0,
        task_group_leader: 0,
        task_thread_pid: 0,
        pid_level: 0,
        pid_numbers: 0,
        upid_size: 0,
        upid_nr: 0,
        upid_ns: 0,
        ns_inum: 0,
        agent_ns: 0,
        follow: 0,
        contexts: 0,
        task_mm: 0,
        mm_arg_start: 0,
        mm_arg_end: 0,
        mm_env_start: 0,
        mm_env_end: 0,
        task_exit_code: 0,
        ask: 0,
        emulated_ns: 0,
        stepped_ns: 0,
        grace_us: 0,
    };
}

const _: () = assert!(size_of::<Config>() == 100);
