//! Which processes a measurement counts, and what of it they run.

use super::measure::{Measurement, probe_message};
use super::message::Message;
use crate::process::executes;
use crate::process::gate::Key;
use std::fs::File;

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
