//! Which process disarms what when the agent has ended, while what is armed changes.

use crate::process::Linger;
use crate::process::gate::Key;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The processes that disarm when this one has ended. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Lingering(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Each with the files whose probes it holds.
    processes: Vec<(Vec<Key>, Linger)>,
    descriptors: BTreeSet<RawFd>,
}

impl Lingering {
    /// Leaves what was armed just now, on the files `keys`, to another process.
    ///
    /// # Errors
    /// There is no other process: when this one ends, it disarms itself.
    pub fn add(&self, keys: Vec<Key>) -> io::Result<()> {
        self.with(|state| state.add(keys))
    }

    /// Lets go what is armed on files that are `gone`, and waits until it is disarmed. This process must have let go.
    ///
    /// # Errors
    /// When the system fails.
    pub fn end(&self, gone: impl Fn(Key) -> bool) -> io::Result<()> {
        if self.with(|state| state.processes.iter().any(|(keys, _)| keys.iter().any(|key| gone(*key)))) {
            self.renew_without(gone)
        } else {
            Ok(())
        }
    }

    /// Lets go what is no longer armed in this process, and waits until it is disarmed.
    ///
    /// # Errors
    /// When the system fails.
    pub fn renew(&self) -> io::Result<()> {
        self.renew_without(|_| false)
    }

    /// First another process holds what is still armed, then those that hold more may end.
    fn renew_without(&self, gone: impl Fn(Key) -> bool) -> io::Result<()> {
        let old = self.with(|state| {
            let old = std::mem::take(&mut state.processes);
            state.descriptors.clear();
            let keys = old.iter().flat_map(|(keys, _)| keys).copied().filter(|key| !gone(*key)).collect();
            state.add(keys).map(|()| old)
        })?;
        old.into_iter().try_for_each(|(_, process)| process.end())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn add(&mut self, keys: Vec<Key>) -> io::Result<()> {
        let process = Linger::new(&mut self.descriptors)?;
        self.processes.extend(process.map(|process| (keys, process)));
        Ok(())
    }
}
