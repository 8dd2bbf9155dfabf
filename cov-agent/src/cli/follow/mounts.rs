//! The mount namespaces on whose file systems execs are held.

use super::libraries::mount_namespace;
use crate::process::{MountList, is_alive};
use std::collections::HashMap;
use std::path::PathBuf;

/// The agent's own mount namespace, and others with a process that sees each.
pub(super) struct Mounts {
    own: Option<PathBuf>,
    own_list: Option<MountList>,
    others: HashMap<PathBuf, (u32, Option<MountList>)>,
}

impl Mounts {
    pub(super) fn new() -> Self {
        let own = std::process::id();
        Self { own: mount_namespace(own), own_list: MountList::of(own).ok(), others: HashMap::new() }
    }

    /// Whether a process sees mounts that are not looked at yet; they are from now on. One process tells of its mounts as
    /// long as it lives.
    pub(super) fn is_new(&mut self, pid: u32) -> bool {
        let Some(namespace) = mount_namespace(pid).filter(|namespace| Some(namespace) != self.own.as_ref()) else {
            return false;
        };
        self.others.retain(|_, (process, _)| is_alive(*process));
        if self.others.contains_key(&namespace) {
            return false;
        }
        self.others.insert(namespace, (pid, MountList::of(pid).ok()));
        true
    }

    /// Whether something was mounted or unmounted since the last call.
    pub(super) fn have_changed(&self) -> bool {
        let lists = self.own_list.iter().chain(self.others.values().filter_map(|(_, list)| list.as_ref()));
        // Each must be asked.
        lists.filter(|list| list.has_changed()).count() > 0
    }
}
