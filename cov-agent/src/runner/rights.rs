//! Whose rights: the agent is root, the person who called it is not.

use crate::format::output::Rights;
use crate::process::Identity;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The person who called the agent: under sudo not root. Sources, debug files and output are opened
/// with this person's rights, and output belongs to this person.
#[derive(Debug, Clone)]
pub struct Invoker {
    identity: Arc<Identity>,
    /// Whether that is somebody else than who runs this process.
    other: bool,
}

impl Invoker {
    /// The person who called this process.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn this() -> io::Result<Self> {
        let identity = Identity::invoking()?;
        let other = identity != Identity::own()?;
        Ok(Self { identity: Arc::new(identity), other })
    }

    /// Opens a file for reading as this person would. Never waits: a pipe is opened, not read.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.identity.open(path)
    }

    /// The path with its links followed as far as this person may; nothing if there is no such file,
    /// or this person may not know.
    #[must_use]
    pub fn canonical(&self, path: &Path) -> Option<PathBuf> {
        self.identity.with_rights(|| path.canonicalize()).ok()?.ok()
    }
}

impl Rights for Invoker {
    fn with(&self, act: &mut dyn FnMut()) -> io::Result<()> {
        self.identity.with_rights(act)
    }

    fn owner(&self) -> Option<(u32, u32)> {
        self.other.then(|| (self.identity.uid.as_raw(), self.identity.gid.as_raw()))
    }
}
