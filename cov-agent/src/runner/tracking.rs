//! Which processes are counted, and in which contexts.

use super::CoverageTestRunner;
use super::contexts::Contexts;
use crate::probe::{Kernel, ProbeError};
use crate::process::Ending;

impl<K: Kernel> CoverageTestRunner<K> {
    /// Takes note of contexts that have begun or are over, and of their counts. To be called when the kernel has
    /// news, and from time to time: what is over makes room.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn update_contexts(&mut self) -> Result<(), ProbeError> {
        self.contexts.as_mut().map_or(Ok(()), |contexts| contexts.update(&mut self.kernel))
    }

    /// The context of the program that the process `process` was executing at `time`, in nanoseconds since the machine
    /// started, as far as [`update_contexts`](Self::update_contexts) has heard of it.
    #[must_use]
    pub fn context_of(&self, process: u32, time: u64) -> Option<&str> {
        self.contexts.as_ref()?.of_program(process, time)
    }

    /// The name of the context of a test that somebody else heard of, by what a variable said; empty where contexts have
    /// no names, or too many have one.
    pub fn context_of_test(&mut self, value: &[u8]) -> String {
        self.contexts.as_mut().map(|contexts| contexts.of_test(value)).unwrap_or_default()
    }

    /// Which contexts ended otherwise than with success, by name.
    pub fn endings(&self) -> impl Iterator<Item = (&str, Ending)> {
        self.contexts.iter().flat_map(Contexts::endings)
    }

    /// Whether the process `pid` is counted now.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn tracks(&mut self, pid: u32) -> Result<bool, ProbeError> {
        self.kernel.tracks(pid)
    }

    /// Counts the process `pid` from now on, and what it forks from now on.
    ///
    /// # Errors
    /// Too many processes are counted.
    pub fn track(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.kernel.track(pid)
    }

    /// Counts the process `pid`, which runs a program already, from now on: where programs begin contexts, in one of its
    /// own.
    ///
    /// # Errors
    /// Too many processes are counted.
    pub fn track_running(&mut self, pid: u32) -> Result<(), ProbeError> {
        match &mut self.contexts {
            Some(contexts) => contexts.track_running(&mut self.kernel, pid),
            None => self.kernel.track(pid),
        }
    }
}
