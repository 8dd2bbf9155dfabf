//! Where debug info that is not in the object itself is looked for.

use super::mapped::Mapped;
use super::{ObjectError, elf};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens a file for reading, on behalf of the person the agent works for. Must not block on a FIFO
/// (`O_NONBLOCK`).
pub type Opener = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

/// Where and how separate debug files are looked for.
#[derive(Clone)]
pub struct DebugSearch {
    /// Directories laid out like `/usr/lib/debug`: with `.build-id/xx/yyy.debug`, and with the
    /// directories of the objects below them. Tried in order.
    pub dirs: Vec<PathBuf>,
    /// Other root directories, such as that of a container, below which each absolute path is tried first: what is found
    /// there must belong to the object, as everywhere.
    pub roots: Vec<PathBuf>,
    opener: Arc<Opener>,
}

impl Default for DebugSearch {
    /// `/usr/lib/debug`, with this process's own rights.
    fn default() -> Self {
        Self::with_opener(open_file)
    }
}

impl DebugSearch {
    /// Opens every file, except the object itself, with `opener`: what an object names is not to be
    /// trusted, and the agent is root.
    pub fn with_opener(opener: impl Fn(&Path) -> io::Result<File> + Send + Sync + 'static) -> Self {
        Self { dirs: vec![PathBuf::from("/usr/lib/debug")], roots: Vec::new(), opener: Arc::new(opener) }
    }

    /// Opens nothing: only what the object itself holds is used.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { dirs: Vec::new(), roots: Vec::new(), opener: Arc::new(|_| Err(io::ErrorKind::NotFound.into())) }
    }

    /// The same, with `opened` told of every file that it opens.
    #[must_use]
    pub fn watched(&self, opened: impl Fn(&Path, &File) + Send + Sync + 'static) -> Self {
        let opener = Arc::clone(&self.opener);
        let open = move |path: &Path| opener(path).inspect(|file| opened(path, file));
        Self { dirs: self.dirs.clone(), roots: self.roots.clone(), opener: Arc::new(open) }
    }

    /// Opens a file as debug files are opened.
    ///
    /// # Errors
    /// Those of the opener.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        (self.opener)(path)
    }

    /// Opens and maps `path`.
    pub(super) fn open(&self, path: &Path) -> Result<Mapped, ObjectError> {
        let below = |root: &PathBuf| (self.opener)(&root.join(path.strip_prefix("/").ok()?)).ok();
        let file = self.roots.iter().find_map(below);
        Mapped::new(file.map_or_else(|| (self.opener)(path), Ok)?)
    }

    /// Opens and maps `path`; if that fails, `looked` tells why.
    pub(super) fn map(&self, path: &Path, looked: &mut Vec<Looked>) -> Option<Mapped> {
        match self.open(path) {
            Ok(mapped) => Some(mapped),
            Err(error) => {
                looked.push(Looked::failed(path, &error));
                None
            }
        }
    }

    /// Like [`map`](Self::map), for a debug file that must be one of those `is_right` accepts.
    pub(super) fn map_debug(
        &self,
        path: &Path,
        looked: &mut Vec<Looked>,
        is_right: impl FnOnce(&[u8], &elf::Elf<'_>) -> Result<(), &'static str>,
    ) -> Option<Mapped> {
        let mapped = self.map(path, looked)?;
        let refused = match elf::parse(mapped.as_ref(), elf::Kind::Debug) {
            Ok(elf) => is_right(mapped.as_ref(), &elf).err().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        match refused {
            None => Some(mapped),
            Some(why) => {
                looked.push(Looked { path: path.to_path_buf(), why });
                None
            }
        }
    }
}

impl fmt::Debug for DebugSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugSearch").field("dirs", &self.dirs).field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// Opens a file with this process's own rights, without waiting for the other end of a FIFO.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Where an object's debug info was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DebugOrigin {
    /// In the object itself.
    Embedded,
    /// In a separate file, found by build-id.
    BuildId(PathBuf),
    /// In a separate file, found by `.gnu_debuglink`.
    DebugLink(PathBuf),
}

impl DebugOrigin {
    /// The separate file, if it is not the object itself.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Embedded => None,
            Self::BuildId(path) | Self::DebugLink(path) => Some(path),
        }
    }
}

/// A place where something was looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The file.
    pub path: PathBuf,
    /// Why it was not used; empty where it is not there.
    pub why: String,
}

impl Looked {
    fn failed(path: &Path, error: &ObjectError) -> Self {
        let why = match error {
            ObjectError::Read(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            error => error.to_string(),
        };
        Self { path: path.to_path_buf(), why }
    }
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// Several places, joined by commas.
pub(super) struct Places<'a>(pub(super) &'a [Looked]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, looked) in self.0.iter().enumerate() {
            write!(f, "{}{looked}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
