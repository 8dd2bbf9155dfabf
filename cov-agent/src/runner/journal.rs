//! What outlives a killed agent: its counters, which the kernel keeps, and a journal that says what they mean.
//!
//! Each run has a directory below [`ALL`] with a file `run`, which says what was asked for and is locked as long as the
//! agent lives, and a file for each object with its plan. Only root can write there, so what is read is trusted. When
//! the results are written the directory goes.

use super::context_log::{ContextLog, Kept};
use super::record::Counts;
use super::{Measured, record};
use crate::coverage::{CoverageCollector, LossKind, RunId};
use crate::plan::Frozen;
use crate::probe::{ArmedId, Kernel, Pins, ProbeError};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The directory of all runs.
const ALL: &str = "/run/cov-agent";

/// The file that says what was asked for.
const HEAD: &str = "run";

/// The file that says what contexts there were.
const CONTEXTS: &str = "contexts";

/// How many interrupted runs are kept; the oldest go first.
const KEPT: usize = 16;

/// How old the beginnings of a directory must be until nobody can be at work on it.
const STALE: Duration = Duration::from_secs(60);

/// What was asked of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// Names the run: what it wrote before it was killed is not counted twice.
    pub id: [u8; 16],
    /// The agent's version. Another one may understand plans otherwise.
    pub version: String,
    /// When it began.
    pub begun: SystemTime,
    /// Its working directory.
    pub directory: OsString,
    /// Its command line, the agent's own name first.
    pub arguments: Vec<OsString>,
    /// The environment variables that configure it.
    pub variables: Vec<(OsString, OsString)>,
}

/// Why counts would not survive, or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] ProbeError),
}

impl JournalError {
    /// Whether this process, or this machine, can keep nothing at all; nobody need worry about that.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
        match self {
            Self::File { source, .. } => {
                matches!(source.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem | Unsupported)
                    || source.raw_os_error() == Some(libc::ENODEV)
            }
            Self::Kernel(error) => matches!(error, ProbeError::NotPermitted { .. }),
        }
    }
}

/// The journal of this run. Dropping it takes it away, and the kept counters with it.
#[derive(Debug)]
pub struct Journal {
    id: RunId,
    directory: PathBuf,
    /// Locked while this process lives.
    #[expect(dead_code, reason = "held")]
    lock: File,
    pins: Pins,
    objects: u32,
    keep: bool,
}

/// The journal of an agent that has ended without having written its results.
#[derive(Debug)]
pub struct Interrupted {
    /// What was asked of it.
    pub head: Head,
    journal: Journal,
}

impl Journal {
    /// Begins one; cleans up what nobody can use any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(head: &Head) -> Result<Self, JournalError> {
        let all = Path::new(ALL);
        trusted(all).map_err(in_file(all))?;
        let run = RunId(head.id);
        let id = run.to_string();
        let (begun, directory) = (all.join(format!(".{id}")), all.join(&id));
        DirBuilder::new().mode(0o700).create(&begun).map_err(in_file(&begun))?;
        let pins = Pins::of(&id);
        let file = begun.join(HEAD);
        let write = || -> Result<File, JournalError> {
            let lock = create(&file, head)?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(in_file(&file))?;
            Pins::create(&id, all).map_err(in_file(Path::new("/sys/fs/bpf")))?;
            fs::rename(&begun, &directory).map_err(in_file(&directory))?;
            Ok(lock)
        };
        match write() {
            Ok(lock) => Ok(Self { id: run, directory, lock, pins, objects: 0, keep: false }),
            Err(error) => {
                let _ = fs::remove_dir_all(&begun);
                let _ = pins.remove();
                Err(error)
            }
        }
    }

    /// The run's name, which its results bear too.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Writes down which processes are counted, as far as the kernel tells when this is read.
    ///
    /// # Errors
    /// The kernel fails.
    pub fn keep_state(&self, kernel: &mut impl Kernel) -> Result<(), JournalError> {
        Ok(kernel.keep_state(&self.pins)?)
    }

    /// Writes down an armed object.
    pub(super) fn add(
        &mut self,
        kernel: &mut impl Kernel,
        id: ArmedId,
        measured: &Measured,
    ) -> Result<u32, JournalError> {
        let number = self.objects;
        let name = number.to_string();
        self.objects += 1;
        kernel.keep(id, &self.pins, &name)?;
        // Whole, or not there.
        let (part, file) = (self.directory.join(format!(".{name}")), self.directory.join(&name));
        create(&part, measured)?;
        fs::rename(&part, &file).map_err(in_file(&file))?;
        Ok(number)
    }

    /// Begins to write down contexts.
    pub(super) fn context_log(&self) -> Result<ContextLog, JournalError> {
        ContextLog::begin(self.directory.join(CONTEXTS)).map_err(|source| self.context_error(source))
    }

    /// Contexts could not be written down.
    pub(super) fn context_error(&self, source: io::Error) -> JournalError {
        JournalError::File { path: self.directory.join(CONTEXTS), source }
    }

    /// The file that says which counters of the object `name` have stopped; see [`write_frozen`].
    pub(super) fn frozen(&self, name: u32) -> PathBuf {
        frozen_file(&self.directory, name)
    }

    /// Writes down that the object `name` was disarmed while processes were amid running it.
    pub(super) fn cut(&self, name: u32) -> Result<(), JournalError> {
        create(&cut_mark(&self.directory, name), &()).map(drop)
    }

    /// Leaves it to be recovered: the results could not be written.
    pub fn leave(mut self) {
        self.keep = true;
    }

    /// Takes it away, and the kept counters with it.
    ///
    /// # Errors
    /// When the system fails.
    pub fn remove(mut self) -> io::Result<()> {
        self.keep = true;
        self.clear()
    }

    fn clear(&self) -> io::Result<()> {
        // At once: who is killed here leaves nothing that anybody takes for counts.
        let ended = match self.directory.file_name().and_then(OsStr::to_str) {
            Some(id) => self.directory.with_file_name(format!(".{id}")),
            None => self.directory.clone(),
        };
        fs::rename(&self.directory, &ended)?;
        self.pins.remove()?;
        fs::remove_dir_all(&ended)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.keep && !std::thread::panicking() {
            let _ = self.clear();
        }
    }
}

impl Interrupted {
    /// All of them, the oldest first, but for those that somebody else is at work on. Cleans up what nobody can use any
    /// more.
    ///
    /// # Errors
    /// The directory of all runs cannot be read, or is not this user's.
    pub fn all() -> Result<Vec<Self>, JournalError> {
        let all = Path::new(ALL);
        match trusted(all) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            outcome => outcome.map_err(in_file(all))?,
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(all).map_err(in_file(all))?.flatten() {
            found.extend(Self::at(entry.path()));
        }
        for run in
            Pins::runs().into_iter().filter(|run| !all.join(run).exists() && !all.join(format!(".{run}")).exists())
        {
            let _ = Pins::of(&run).remove();
        }
        found.sort_by_key(|interrupted| interrupted.head.begun);
        let excess = found.len().saturating_sub(KEPT);
        found.drain(..excess).for_each(|oldest| drop(oldest.journal.remove()));
        Ok(found)
    }

    /// The one in `directory`, unless its agent lives.
    fn at(directory: PathBuf) -> Option<Self> {
        let id = directory.file_name()?.to_str()?.to_owned();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = open(directory.join(HEAD), flags, Mode::empty()).map(File::from);
        let (Ok(lock), false) = (lock, id.starts_with('.')) else {
            // Somebody begins or ends it, or was killed at that.
            let age = fs::metadata(&directory).ok()?.modified().ok()?.elapsed().ok()?;
            if age > STALE {
                let _ = fs::remove_dir_all(&directory);
            }
            return None;
        };
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        let head: io::Result<Head> = read(&lock);
        let run = RunId(head.as_ref().map_or([0; 16], |head| head.id));
        let journal = Journal { id: run, pins: Pins::of(&id), directory, lock, objects: 0, keep: true };
        match head {
            Ok(head) => Some(Self { head, journal }),
            // Of an agent that wrote something else.
            Err(_) => {
                let _ = journal.remove();
                None
            }
        }
    }

    /// Whether contexts are lost that there were: the journal had no room for them.
    #[must_use]
    pub fn lacks_contexts(&self) -> bool {
        !self.journal.directory.join(CONTEXTS).exists()
    }

    /// The contexts, and what was counted in them; none where they are lost, or there were none.
    fn contexts(&self) -> Result<Kept, JournalError> {
        let file = self.journal.directory.join(CONTEXTS);
        match Kept::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            kept => {
                let mut kept = kept.map_err(in_file(&file))?;
                kept.add_kernel(&self.journal.pins.contexts()?);
                Ok(kept)
            }
        }
    }

    /// Records what its counters say into `collector`. Where a counted process lived on, counts are lower bounds.
    ///
    /// # Errors
    /// The counters of no object can be read.
    pub fn record(&self, collector: &CoverageCollector) -> Result<(), JournalError> {
        let Journal { directory, pins, .. } = &self.journal;
        let cut = pins.anybody_counted().unwrap_or(true);
        collector
            .losses_mut()
            .add_detail(LossKind::DisarmedCounters, "the agent was killed: what ran later is missing");
        let contexts = self.contexts()?;
        let mut names: Vec<u32> = fs::read_dir(directory)
            .map_err(in_file(directory))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        names.sort_unstable();
        for name in names {
            let file = directory.join(name.to_string());
            let one = || -> Result<(Measured, Vec<u64>), JournalError> {
                let mut measured: Measured =
                    read(&File::open(&file).map_err(in_file(&file))?).map_err(in_file(&file))?;
                let stops = frozen_file(directory, name);
                match File::open(&stops) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    opened => measured.frozen = opened.and_then(|file| read(&file)).map_err(in_file(&stops))?,
                }
                let counters = pins.counters(&name.to_string(), measured.plan.slots)?;
                Ok((measured, counters))
            };
            match one() {
                Ok((measured, counters)) => {
                    let amid = cut || cut_mark(directory, name).exists();
                    let record = if amid { record::record_amid } else { record::record };
                    let contexts = contexts.of_object(name, &measured.frozen);
                    record(collector, &measured, Counts::whole(&counters, measured.frozen.len()), &contexts);
                }
                Err(error) => {
                    collector.losses_mut().add_detail(LossKind::UnattachedObjects, error.to_string());
                }
            }
        }
        record::lose(collector, pins.losses()?);
        Ok(())
    }

    /// Takes it away, and the kept counters with it.
    ///
    /// # Errors
    /// When the system fails.
    pub fn remove(self) -> io::Result<()> {
        self.journal.remove()
    }
}

/// The file that says which counters of an object have stopped.
fn frozen_file(directory: &Path, name: u32) -> PathBuf {
    directory.join(format!("{name}.frozen"))
}

/// Writes down at `path`, a file that [`Journal::frozen`] names, which counters of an object have stopped. It appears whole.
pub(super) fn write_frozen(path: &Path, stops: &Frozen) -> io::Result<()> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create(&part, stops).map_err(io::Error::other)?;
    fs::rename(&part, path)
}

/// The file that says that an object was disarmed too early for exact counts.
fn cut_mark(directory: &Path, name: u32) -> PathBuf {
    directory.join(format!("{name}.cut"))
}

/// Makes sure that the directory is there, and nobody's but this user's.
fn trusted(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else, or others may use it"))
}

fn create(path: &Path, value: &impl Serialize) -> Result<File, JournalError> {
    let bytes = postcard::to_stdvec(value).map_err(|error| in_file(path)(io::Error::other(error)))?;
    let mut file = File::options().write(true).create_new(true).open(path).map_err(in_file(path))?;
    file.write_all(&bytes).map_err(in_file(path))?;
    Ok(file)
}

fn read<T: for<'a> Deserialize<'a>>(mut file: &File) -> io::Result<T> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

fn in_file<E: Into<io::Error>>(path: &Path) -> impl Fn(E) -> JournalError + '_ {
    move |error| JournalError::File { path: path.into(), source: error.into() }
}
