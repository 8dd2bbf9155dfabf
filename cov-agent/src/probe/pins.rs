//! Counters that outlive the process that made them: maps with names in the kernel's own file system for them (bpffs).

use super::counters::Counters;
use super::{ContextCount, KernelLosses, ProbeError, contexts};
use aya::maps::{Array, HashMap, Map, MapData};
use cov_ebpf_common::{self as common, Loss};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, statfs};
use rustix::mount::{MountFlags, mount};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Where the file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// What statfs(2) says of it (`BPF_FS_MAGIC`).
const MAGIC: i64 = 0xcafe_4a11;

/// The directory of all runs.
const ALL: &str = "/sys/fs/bpf/cov-agent";

const KEEPING: &str = "keeping the counters";

/// The names that one run has given to its maps.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Makes room for the names of the run `run`. Mounts the file system where it is not; `lock` is a directory that
    /// whoever might do the same locks.
    ///
    /// # Errors
    /// No such file system, or no right to it.
    pub fn create(run: &str, lock: &Path) -> io::Result<Self> {
        if !is_mounted()? {
            let lock = open(lock, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            if !is_mounted()? {
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
                mount("bpf", BPFFS, "bpf", flags, Some(c"mode=700"))?;
            }
        }
        let pins = Self::of(run);
        match DirBuilder::new().mode(0o700).create(ALL) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&pins.directory)?;
        Ok(pins)
    }

    /// The names that the run `run` has given.
    #[must_use]
    pub fn of(run: &str) -> Self {
        Self { directory: Path::new(ALL).join(run) }
    }

    /// The runs that have names.
    #[must_use]
    pub fn runs() -> Vec<String> {
        let entries = fs::read_dir(ALL).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Takes the names away, and with them the maps that nobody else has.
    ///
    /// # Errors
    /// When the system fails.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The counters that [`keep`](super::Kernel::keep) kept under `name`, `slots` of them.
    ///
    /// # Errors
    /// There are none, or the kernel fails.
    pub fn counters(&self, name: &str, slots: u32) -> Result<Vec<u64>, ProbeError> {
        let map = self.open(name, "reading kept counters")?;
        Ok(Counters::of_map(map, slots)?.read())
    }

    /// Whether a process was counted that had not ended when the probes were disarmed.
    ///
    /// # Errors
    /// Nothing was kept, or the kernel fails.
    pub fn anybody_counted(&self) -> Result<bool, ProbeError> {
        let doing = "reading the processes that were counted";
        let map = Map::HashMap(self.open(common::TRACKED, doing)?);
        let tracked: HashMap<_, u32, u32> = HashMap::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
        let first = tracked.keys().next().transpose();
        first.map(|first| first.is_some()).map_err(|error| ProbeError::of(doing, error))
    }

    /// The counters of contexts.
    ///
    /// # Errors
    /// There were none, or the kernel fails.
    pub fn contexts(&self) -> Result<Vec<ContextCount>, ProbeError> {
        contexts::kept(self.open(common::CONTEXT_COUNTERS, "reading kept contexts")?)
    }

    /// What could not be counted.
    ///
    /// # Errors
    /// Nothing was kept, or the kernel fails.
    pub fn losses(&self) -> Result<KernelLosses, ProbeError> {
        losses(&mut Map::Array(self.open(common::LOSSES, "reading kept losses")?))
    }

    pub(super) fn pin(&self, map: &MapData, name: &str) -> Result<(), ProbeError> {
        map.pin(self.directory.join(name)).map_err(|error| ProbeError::of(KEEPING, error))
    }

    pub(super) fn pin_map(&self, map: &Map, name: &str) -> Result<(), ProbeError> {
        map.pin(self.directory.join(name)).map_err(|error| ProbeError::of(KEEPING, error))
    }

    fn open(&self, name: &str, doing: &'static str) -> Result<MapData, ProbeError> {
        MapData::from_pin(self.directory.join(name)).map_err(|error| ProbeError::of(doing, error))
    }
}

fn is_mounted() -> io::Result<bool> {
    Ok(statfs(BPFFS)?.f_type == MAGIC)
}

/// What the map of losses holds.
pub(super) fn losses(map: &mut Map) -> Result<KernelLosses, ProbeError> {
    let doing = "reading the losses";
    let losses: Array<&mut MapData, u64> = Array::try_from(map).map_err(|error| ProbeError::of(doing, error))?;
    let get = |loss| losses.get(&(loss as u32), 0).map_err(|error| ProbeError::of(doing, error));
    Ok(KernelLosses {
        hits: get(Loss::NoCounter)?,
        processes: get(Loss::NoRoom)?,
        merged: get(Loss::Merged)?,
        contexts: get(Loss::NoContext)?,
        news: get(Loss::NoNews)?,
        stops: get(Loss::NoStop)?,
    })
}
