//! Which processes a measurement counts, and what of it they run.

use super::console::Console;
use super::measure::{Measurement, probe_message};
use super::message::Message;
use crate::process::gate::Key;
use crate::process::{executes, readable};
use std::fs::File;
use std::io;

impl Measurement<'_> {
    /// The processes that are counted now.
    pub(super) fn tracked(&mut self) -> Result<Vec<u32>, Message> {
        self.runner.kernel_mut().tracked_processes().map_err(|e| probe_message(&e))
    }

    /// Whether a process is counted now.
    pub(super) fn tracks(&mut self, pid: u32) -> Result<bool, Message> {
        self.runner.tracks(pid).map_err(|e| probe_message(&e))
    }

    /// Whether a process is, or was, counted.
    pub(super) fn has_tracked(&mut self, pid: u32) -> Result<bool, Message> {
        Ok(self.tracks(pid)? || self.runner.kernel().was_tracked(pid).map_err(|e| probe_message(&e))?)
    }

    /// What is armed.
    pub(super) fn armed(&self) -> impl Iterator<Item = Key> {
        self.runner.armed_files().into_iter().map(|(key, _)| key)
    }

    /// Counts a process from now on.
    pub(super) fn track(&mut self, pid: u32) -> Result<(), Message> {
        self.runner.track(pid).map_err(|e| probe_message(&e))
    }

    /// Counts a process that runs already from now on.
    pub(super) fn track_running(&mut self, pid: u32) -> Result<(), Message> {
        self.runner.track_running(pid).map_err(|e| probe_message(&e))
    }

    /// Waits until there is news of contexts.
    pub(super) async fn news(&self) -> io::Result<()> {
        match self.runner.kernel().readable() {
            Some(news) => readable(news).await,
            None => std::future::pending().await,
        }
    }

    /// See [`CoverageTestRunner::update_contexts`](crate::runner::CoverageTestRunner::update_contexts); what fails is told.
    pub(super) fn take_news(&mut self, console: Console) {
        if let Err(error) = self.update_contexts() {
            console.warning(&error);
        }
    }

    /// See [`CoverageTestRunner::update_contexts`](crate::runner::CoverageTestRunner::update_contexts).
    pub(super) fn update_contexts(&mut self) -> Result<(), Message> {
        self.runner.update_contexts().map_err(|e| probe_message(&e))
    }

    /// Disarms objects that are not at their paths any more and that no counted process runs.
    pub(super) fn let_unused_go(&mut self) -> Result<(), Message> {
        let tracked = self.tracked()?;
        for (key, path) in self.runner.armed_files() {
            let there = File::open(&path).and_then(Key::of).is_ok_and(|now| now == key);
            if !there && !tracked.iter().any(|pid| executes(*pid, key.inode())) {
                self.console.detail(&format!("{}: not there any more, and not run: disarmed", path.display()));
                self.disarm(key, false)?;
            }
        }
        Ok(())
    }
}
