//! Contexts: whose hit it was. Each has a number while somebody is in it; the agent knows its name.

/// How many contexts there can be at the same time. Number 0 is none.
pub const MAX_CONTEXTS: u32 = 1 << 12;

/// How many counters contexts have together.
pub const MAX_CONTEXT_COUNTERS: u32 = 1 << 20;

/// How many threads and goroutines can be in a context of their own at the same time.
pub const MAX_UNITS: u32 = 1 << 15;

/// How many bytes of news wait for the agent at most.
pub const NEWS_BYTES: u32 = 4 << 20;

/// Set in an element of `USERS` once the context is over: threads that outlive it are in none.
pub const OVER: u64 = 1 << 32;

/// Key of the map `CONTEXT_COUNTERS`; the value is a `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct ContextKey {
    /// The context's number.
    pub context: u32,
    /// The object's index.
    pub object: u32,
    /// The counter.
    pub slot: u32,
}

/// Key of the map `UNITS`: something in a process that is in a context of its own, whose number is the
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct UnitKey {
    /// The process, as the agent's namespace numbers it.
    pub process: u32,
    /// One of the constants of this type.
    pub kind: u32,
    /// The thread's number, or the goroutine's address.
    pub unit: u64,
}

impl UnitKey {
    /// A thread, by the kernel's own number.
    pub const THREAD: u32 = 0;
    /// A goroutine, by the address of its `runtime.g`.
    pub const GOROUTINE: u32 = 1;
    /// The process itself: the value is the context that it was in before.
    pub const PROCESS: u32 = 2;
    /// A thread that makes a goroutine: the value is the context of the one that asks.
    pub const SPAWNING: u32 = 3;
}

/// What a piece of news says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NewsKind {
    /// A process has executed a program and is in the new context `context`; it was in `other`.
    Executed = 0,
    /// A mark was reached: the new context `context` begins inside `other`.
    Entered = 1,
    /// A process has ended in `context`, with `status` as wait(2) gives it.
    Ended = 2,
    /// A thread has ended amid `context`, whose end it did not reach; `status` is its process's.
    Cut = 3,
}

/// The beginning of all news.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct News {
    /// A [`NewsKind`].
    pub kind: u32,
    /// The context's number.
    pub context: u32,
    /// Another context's number.
    pub other: u32,
    /// The process, as the agent's namespace numbers it.
    pub process: u32,
    /// How it ended.
    pub status: u32,
    /// Which of the agent's marks was reached.
    pub mark: u32,
    /// How many bytes there would have been, if data had room for all.
    pub length: u32,
    /// The same of a second piece of text, which begins in the middle of data.
    pub second: u32,
    /// When, in nanoseconds since the machine started.
    pub time: u64,
    /// The process's control group.
    pub cgroup: u64,
    /// The instruction that the mark is at.
    pub address: u64,
}

/// How many bytes of arguments or environment come with [`NewsKind::Executed`].
pub const EXECUTED_BYTES: usize = 4096;

/// How many bytes of text come with [`NewsKind::Entered`].
pub const ENTERED_BYTES: usize = 512;

const _: () = assert!(size_of::<ContextKey>() == 12 && size_of::<UnitKey>() == 16 && size_of::<News>() == 56);
