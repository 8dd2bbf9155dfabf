//! Where debug info that is not in the object itself is looked for.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Opens a file on behalf of the person the agent works for.
pub type Opener = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

/// Where and how separate debug files are looked for.
pub struct DebugSearch {
    /// Directories laid out like `/usr/lib/debug`: with `.build-id/xx/yyy.debug`, and with the
    /// directories of the objects below them. Tried in order.
    pub dirs: Vec<PathBuf>,
    opener: Box<Opener>,
}

impl Default for DebugSearch {
    /// `/usr/lib/debug`, with this process's own rights.
    fn default() -> Self {
        Self::with_opener(|path| File::open(path))
    }
}

impl DebugSearch {
    /// Opens every file, except the object itself, with `opener`: what an object names is not to be
    /// trusted, and the agent is root.
    pub fn with_opener(opener: impl Fn(&Path) -> io::Result<File> + Send + Sync + 'static) -> Self {
        Self { dirs: vec![PathBuf::from("/usr/lib/debug")], opener: Box::new(opener) }
    }

    /// Opens nothing: only what the object itself holds is used.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { dirs: Vec::new(), opener: Box::new(|_| Err(io::ErrorKind::NotFound.into())) }
    }

    /// Opens `path` by the opener.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        (self.opener)(path)
    }
}

impl fmt::Debug for DebugSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugSearch").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

/// Where an object's debug info was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugOrigin {
    /// In the object itself.
    Embedded,
    /// In a separate file, found by build-id.
    BuildId(PathBuf),
    /// In a separate file, found by `.gnu_debuglink`.
    DebugLink(PathBuf),
}
