//! The mount namespaces on whose file systems execs are held.

use super::libraries::mount_namespace;
use crate::process::is_alive;
use std::collections::HashMap;
use std::path::PathBuf;

/// The agent's own mount namespace, and others with a process that sees each.
pub(super) struct Mounts {
    own: Option<PathBuf>,
    others: HashMap<PathBuf, u32>,
}

impl Mounts {
    pub(super) fn new() -> Self {
        Self { own: mount_namespace(std::process::id()), others: HashMap::new() }
    }

    /// Whether a process sees mounts that are not looked at yet; they are from now on. One process tells of its mounts as
    /// long as it lives.
    pub(super) fn is_new(&mut self, pid: u32) -> bool {
        let Some(namespace) = mount_namespace(pid).filter(|namespace| Some(namespace) != self.own.as_ref()) else {
            return false;
        };
        self.others.retain(|_, process| is_alive(*process));
        if self.others.contains_key(&namespace) {
            return false;
        }
        self.others.insert(namespace, pid);
        true
    }
}
