//! Probes in the running kernel: sites → armed probes → counters.
//!
//! The only module that names aya and calls bpf(2). What the rest of the agent needs of the kernel is
//! the trait [`Kernel`]; tests put another one in its place.

mod bisect;
mod bpf;
mod btf;
mod contexts;
mod counters;
mod descriptors;
mod error;
mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod links;
mod live;
mod marks;
mod missed;
mod namespace;
mod pins;
mod prices;
mod programs;
mod python;
mod requests;
mod running;
mod stops;
#[cfg(test)]
mod tests;
mod tracepoints;
mod variables;

pub use bpf::{Bpf, Options};
pub use contexts::{Area, ContextCount, ContextNews, ContextOptions};
pub use error::ProbeError;
pub use facts::{Fact, Facts, Verdict, facts};
pub use live::{Links, Old};
pub use marks::NumberedMark;
pub use pins::Pins;
pub use prices::Prices;
pub use requests::{Asked, Asking, Requests};
pub use stops::{Place, StoppedThreads};
pub use variables::VARIABLE;

use crate::plan::Site;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;

/// An armed object of one [`Kernel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArmedId(u32);

/// What became of the sites of one object.
#[derive(Debug)]
pub struct Armed {
    /// Names it from now on.
    pub id: ArmedId,
    /// Sites that the kernel did not take, by rising index into the sites that were to be armed.
    /// Those of a file that no process has mapped are not looked at until one does.
    pub refused: Vec<Refused>,
}

/// A site that carries no probe.
#[derive(Debug)]
pub struct Refused {
    /// Index into the sites that were to be armed.
    pub site: usize,
    /// What the kernel said.
    pub reason: io::Error,
}

/// What could not be counted, since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelLosses {
    /// Hits that were added to no counter.
    pub hits: u64,
    /// Forked processes that are not counted, since too many are counted at the same time.
    pub processes: u64,
    /// Hits in a context that were counted in none, since there was no room.
    pub merged: u64,
    /// Contexts that were not told from the one around them, since too many were alive.
    pub contexts: u64,
    /// News of contexts that did not arrive.
    pub news: u64,
    /// Threads that signals ended nobody knows where.
    pub stops: u64,
}

impl KernelLosses {
    /// Whether everything was counted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What was lost after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            processes: self.processes.saturating_sub(before.processes),
            merged: self.merged.saturating_sub(before.merged),
            contexts: self.contexts.saturating_sub(before.contexts),
            news: self.news.saturating_sub(before.news),
            stops: self.stops.saturating_sub(before.stops),
        }
    }
}

/// What the agent needs of the kernel: hits of probes, counted for chosen processes.
///
/// Nothing is counted for a process before [`track`](Kernel::track); a counter is the sum over all
/// processes and threads, and no hit of a process that ended is lost.
pub trait Kernel: Send {
    /// Arms every site on the object behind `file`, for every process that has it mapped or will map
    /// it. `slots` is how many counters the sites use; all start at 0.
    ///
    /// # Errors
    /// What stops the whole object: no permission, no memory, too many objects or counters. A site
    /// that the kernel does not take is no error: the others are armed.
    fn attach(&mut self, file: &File, sites: &[Site], slots: u32) -> Result<Armed, ProbeError>;

    /// Counts the process `pid` (as this process's namespace numbers it) from now on, and, where that
    /// was asked for, processes that it forks from now on, and theirs.
    ///
    /// # Errors
    /// When too many processes are counted.
    fn track(&mut self, pid: u32) -> Result<(), ProbeError>;

    /// The same for a process that runs a program already: where programs begin contexts, in one of its own, as if it
    /// executed its program now. What [`news`](Self::news) would tell of that; `None` where it is in no context.
    ///
    /// # Errors
    /// When too many processes are counted.
    fn track_running(&mut self, pid: u32) -> Result<Option<ContextNews>, ProbeError> {
        self.track(pid).map(|()| None)
    }

    /// Whether the process `pid` is counted now.
    ///
    /// # Errors
    /// When the kernel fails.
    fn tracks(&mut self, pid: u32) -> Result<bool, ProbeError>;

    /// Counts the process `pid` no longer. No error if it never was, or has ended.
    ///
    /// # Errors
    /// When the kernel fails.
    fn untrack(&mut self, pid: u32) -> Result<(), ProbeError>;

    /// The counters of an armed object by slot, as they are now.
    ///
    /// # Errors
    /// When the object is not armed.
    fn counters(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError>;

    /// What could not be counted so far.
    ///
    /// # Errors
    /// When the kernel fails.
    fn losses(&mut self) -> Result<KernelLosses, ProbeError>;

    /// Keeps the counters of an armed object beyond the end of this process, under `name`.
    ///
    /// # Errors
    /// When the object is not armed, or the kernel fails.
    fn keep(&mut self, object: ArmedId, pins: &Pins, name: &str) -> Result<(), ProbeError>;

    /// Keeps beyond the end of this process which processes are counted, the counters of contexts, and what could not be
    /// counted.
    ///
    /// # Errors
    /// When the kernel fails.
    fn keep_state(&mut self, pins: &Pins) -> Result<(), ProbeError>;

    /// Lets go of an object's probes. Unless another process holds them too, they are disarmed; it can still be
    /// [detached](Self::detach), and its counters be read.
    ///
    /// # Errors
    /// When the object is not armed.
    fn release(&mut self, object: ArmedId) -> Result<(), ProbeError>;

    /// Disarms an object and gives its last counters. Waits for hits that are under way, which takes
    /// tens of milliseconds.
    ///
    /// # Errors
    /// When the object is not armed.
    fn detach(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError>;

    /// Arms marks in the file of an armed object: contexts begin and end there. They go with the object.
    ///
    /// # Errors
    /// When the object is not armed, or the kernel fails.
    fn mark(&mut self, object: ArmedId, file: &File, marks: &[NumberedMark]) -> Result<(), ProbeError>;

    /// Lets the variables that a process puts into its environment tell the test, as pytest does.
    ///
    /// # Errors
    /// When the kernel fails; not when the process has ended.
    fn watch_variables(&mut self, process: u32) -> Result<(), ProbeError>;

    /// What is new of contexts since the last call, in the order in which it happened.
    fn news(&mut self) -> Vec<ContextNews>;

    /// Whether nobody is in a context, or will be.
    ///
    /// # Errors
    /// When the kernel fails.
    fn is_over(&mut self, context: u32) -> Result<bool, ProbeError>;

    /// The counters of the wanted objects and contexts, as they are now: what was hit in a context is
    /// not among [`counters`](Self::counters).
    ///
    /// # Errors
    /// When the kernel fails.
    fn context_counts(&mut self, wanted: &dyn Fn(ArmedId, u32) -> bool) -> Result<Vec<ContextCount>, ProbeError>;

    /// Removes counters of contexts that are over, or of objects that are disarmed.
    ///
    /// # Errors
    /// When the kernel fails.
    fn forget_counts(&mut self, counts: &[ContextCount]) -> Result<(), ProbeError>;

    /// Lets the number of a context that is over, and whose counters are removed, be used again.
    ///
    /// # Errors
    /// When the kernel fails.
    fn release_context(&mut self, context: u32) -> Result<(), ProbeError>;

    /// Where signals ended threads of counted processes, if that was asked for; not those in system calls.
    ///
    /// # Errors
    /// When the kernel fails.
    fn stops(&mut self) -> Result<Vec<StoppedThreads>, ProbeError> {
        Ok(Vec::new())
    }

    /// Where hits ask for probes to be disarmed: their requests, once.
    fn requests(&mut self) -> Option<Requests> {
        None
    }

    /// An armed object, for the thread that disarms; `None` if this kernel has nothing of the kind.
    ///
    /// # Errors
    /// When the object is not armed.
    fn links(&self, object: ArmedId) -> Result<Option<Links>, ProbeError> {
        let _ = object;
        Ok(None)
    }
}
