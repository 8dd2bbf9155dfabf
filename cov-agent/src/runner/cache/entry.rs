//! One plan as bytes: a magic, a checksum over key and content, and the content as `postcard` writes it.

use super::Key;
use crate::object::DebugOrigin;
use crate::plan::ProbePlan;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What every entry begins with; the last letter is the version.
pub(super) const MAGIC: &str = "COVPLAN3";

/// A plan, and what it depends on that no key tells.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) plan: ProbePlan,
    pub(super) debug: DebugOrigin,
    /// Source files of units that were not wanted.
    pub(super) left_out: Vec<PathBuf>,
    /// Whether each of the plan's source files was.
    pub(super) wanted: Vec<bool>,
    /// The files that were read beside the object.
    pub(super) opened: Vec<(PathBuf, Stamp)>,
}

/// What tells that a file was written to or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    place: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Self {
            place: (data.dev(), data.ino()),
            len: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// An entry as it lies on disk.
pub(super) struct Stored {
    pub(super) entry: Entry,
}

impl Stored {
    /// The bytes of an entry under `key`.
    pub(super) fn encode(&self, key: &Key) -> Option<Vec<u8>> {
        let content = postcard::to_allocvec(&self.entry).ok()?;
        Some([MAGIC.as_bytes(), &checksum(key, &content), &content].concat())
    }

    /// The entry of these bytes; `None` if they are damaged, or those of another key.
    pub(super) fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        let (sum, content) = bytes.strip_prefix(MAGIC.as_bytes())?.split_at_checked(size_of::<Key>())?;
        if checksum(key, content) != sum {
            return None;
        }
        Some(Self { entry: postcard::from_bytes(content).ok()? })
    }
}

fn checksum(key: &Key, content: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(content).finalize().into()
}
