//! Plans kept on disk, so that the next run of the same program needs not read its debug info again.
//!
//! An entry is found by what a plan depends on: the content of the object, the planner, and what was asked for. It also tells
//! which debug files were read and which sources were wanted; both are looked at again. Whatever is not as it was, or
//! damaged, is planned anew; nothing here is ever an error of a run.
//!
//! # Whom it trusts
//! A plan says where breakpoints go. A wrong one counts falsely, and a breakpoint inside an instruction kills the program; the
//! agent may be root, and the program another user's. So only a directory is used that belongs to the effective user and that
//! nobody else can write to, and in it only such files; both are opened without following a link. The object is told by a
//! SHA-256 of all of its bytes, not by its build-id, which whoever builds an object can choose; and it is planned from the very
//! bytes that were hashed, a copy, since its owner may write to the file meanwhile. A checksum over key and
//! content tells damage, and entries that were renamed. Every site is decoded again in the object's own bytes: that
//! it is an instruction of its kind there is proved anew, that control comes by it rests on the planner that wrote it.

mod directory;
mod entry;
#[cfg(test)]
mod tests;

use super::prepare::Prepared;
use crate::object::{Bytes, DebugOrigin, DebugSearch};
use crate::plan::{PlanOptions, ProbePlan, still_holds};
use crate::probe::Prices;
use directory::Directory;
use entry::{Entry, Stamp, Stored};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A bigger object is not copied: its plan is not kept.
const MAX_OBJECT: usize = 512 << 20;
/// Bytes that are hashed at once, side by side.
const CHUNK: usize = 1 << 20;

/// The name of the file with what hits cost.
const PRICES: &str = "prices";

/// What tells one plan from another.
type Key = [u8; 32];

/// Why a directory cannot hold plans.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or opened.
    #[error("{path}: {source}", path = path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody else could write to it.
    #[error(
        "{path} is not safe: it must belong to the user who runs the agent, and nobody else may write to it",
        path = path.display()
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
    },
}

/// Plans kept in a directory.
#[derive(Debug)]
pub struct Cache {
    directory: Directory,
    /// What shapes plans beside the object and the options: the filter as it was written, where debug info is looked for.
    shape: String,
}

/// A plan out of the cache, with what belongs to it.
pub(super) struct Found {
    pub(super) plan: ProbePlan,
    pub(super) debug: DebugOrigin,
    pub(super) left_out: Vec<PathBuf>,
}

/// A file that was opened; without a stamp where the system gives none.
type Noted = (PathBuf, Option<Stamp>);

/// What reading an object opens beside it.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<Vec<Noted>>>);

impl Opened {
    /// `search`, with what it opens noted here.
    pub(super) fn watch(&self, search: &DebugSearch) -> DebugSearch {
        let files = Arc::clone(&self.0);
        search.watched(move |path, file| {
            let stamp = Stamp::of(file).ok();
            files.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_path_buf(), stamp));
        })
    }
}

impl Cache {
    /// Plans below `path`, which is made if it is not there; together at most `max_bytes`, the least used ones dropped
    /// first. `shape` is what shapes plans beside objects and options.
    ///
    /// # Errors
    /// The directory cannot be made, or is not the effective user's alone.
    pub fn open(path: &Path, max_bytes: u64, shape: String) -> Result<Self, CacheError> {
        Ok(Self { directory: Directory::open(path, max_bytes)?, shape })
    }

    /// The key of the plan of an object with these bytes. `None`: it depends on what no key tells.
    pub(super) fn key(&self, bytes: &[u8], options: &PlanOptions<'_>) -> Option<Key> {
        // Whatever is added to the options must be told apart here.
        let PlanOptions { wanted: _, selection, scope, branches, aim, freezes, goes, dear } = options;
        if !selection.is_everything() {
            return None;
        }
        let chunks: Vec<[u8; 32]> = bytes.par_chunks(CHUNK).map(|chunk| Sha256::digest(chunk).into()).collect();
        let mut hash = Sha256::new();
        let asked = format!("{scope:?} {branches} {aim:?} {freezes} {goes} {dear:?}");
        for text in [entry::MAGIC, env!("PLANNER"), &asked, &self.shape] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.update((bytes.len() as u64).to_le_bytes());
        chunks.iter().for_each(|chunk| hash.update(chunk));
        Some(hash.finalize().into())
    }

    /// What hits were measured to cost since the machine was started.
    #[must_use]
    pub fn prices(&self) -> Option<Prices> {
        let text = String::from_utf8(self.directory.read(PRICES).ok()?).ok()?;
        let mut words = text.split_whitespace();
        words.next().filter(|boot| Some(*boot) == boot_id().as_deref())?;
        let mut price = || words.next()?.parse().ok().map(Duration::from_nanos);
        Some(Prices { emulated: price()?, single_stepped: price()? })
    }

    /// Keeps what hits were measured to cost. What cannot be kept is not.
    pub fn keep_prices(&self, Prices { emulated, single_stepped }: Prices) {
        let Some(boot) = boot_id() else { return };
        let text = format!("{boot} {} {}\n", emulated.as_nanos(), single_stepped.as_nanos());
        let _ = self.directory.write(PRICES, text.as_bytes());
    }

    /// The plan under `key`, if there is one and it still holds for the object of these bytes.
    pub(super) fn find(
        &self,
        key: &Key,
        bytes: &[u8],
        search: &DebugSearch,
        options: &PlanOptions<'_>,
    ) -> Option<Found> {
        let Stored { entry, .. } = Stored::decode(key, &self.directory.read(&name(key)).ok()?)?;
        let Entry { plan, debug, left_out, wanted, opened } = entry;
        let same = |(path, stamp): &(PathBuf, Stamp)| {
            search.open_file(path).and_then(|file| Stamp::of(&file)).is_ok_and(|now| now == *stamp)
        };
        let as_wanted = |(path, was): (&PathBuf, &bool)| (options.wanted)(path) == *was;
        let files: Vec<PathBuf> = plan.files.iter().map(|file| file.path.clone()).collect();
        let holds = files.len() == wanted.len()
            && files.iter().zip(&wanted).all(as_wanted)
            && !left_out.iter().any(|path| (options.wanted)(path))
            && opened.iter().all(same)
            && still_holds(&plan, bytes);
        holds.then_some(Found { plan, debug, left_out })
    }

    /// Keeps a plan under `key`. What cannot be kept is not.
    pub(super) fn keep(
        &self,
        key: &Key,
        prepared: &Prepared,
        left_out: &[PathBuf],
        opened: &Opened,
        options: &PlanOptions<'_>,
    ) {
        let opened = std::mem::take(&mut *opened.0.lock().unwrap_or_else(PoisonError::into_inner));
        let opened: Option<Vec<_>> = opened.into_iter().map(|(path, stamp)| Some((path, stamp?))).collect();
        // What could not be read today may be there tomorrow.
        let Some(opened) = opened.filter(|_| prepared.notes.is_empty()) else { return };
        let entry = Entry {
            wanted: prepared.plan.files.iter().map(|file| (options.wanted)(&file.path)).collect(),
            plan: prepared.plan.clone(),
            debug: prepared.debug.clone(),
            left_out: left_out.to_vec(),
            opened,
        };
        if let Some(bytes) = (Stored { entry }).encode(key) {
            // A full disk, a directory that went away: the next run plans again.
            let _ = self.directory.write(&name(key), &bytes);
        }
    }
}

/// What the kernel calls the time since the machine was started.
fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// The name of an entry's file.
fn name(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + directory::ENDING
}

/// The whole content of an object: a copy, so that it stays the same while it is hashed, read and planned. `None`: it is no
/// regular file, too big to be copied, or was written to meanwhile.
pub(super) fn bytes_of(file: &File) -> Option<Bytes> {
    let before = Stamp::of(file).ok()?;
    let data = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let length = usize::try_from(data.len()).ok()?;
    let mut bytes = vec![0; Some(length).filter(|length| *length <= MAX_OBJECT)?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    (Stamp::of(file).ok()? == before).then(|| Arc::new(bytes) as Bytes)
}
