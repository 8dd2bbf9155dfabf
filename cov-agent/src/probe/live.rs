//! Links of armed objects, which can be added to and replaced while hits are counted.

use super::bisect::{self, Attempt, MAX_SITES_PER_LINK, Outcome};
use super::counters::Counters;
use super::links::{attach, close, touch};
use super::{ProbeError, Refused};
use crate::plan::{Instruction, Observe, Site, SlotId};
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink};
use cov_ebpf_common::{Cookie, MAX_SLOTS};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes links to the counting program.
#[derive(Clone)]
pub(super) struct Linker {
    pub(super) programs: Arc<Mutex<Ebpf>>,
    /// Which of the programs counts.
    pub(super) program: &'static str,
    /// How many links there may be, since each is a descriptor.
    pub(super) spare: usize,
}

/// Which object its hits belong to, and how they are counted.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) object: u32,
    pub(super) stripes_log2: u32,
    /// Whether one hit of a site is enough.
    pub(super) once: bool,
}

impl Linker {
    /// Whether one link carries all probes of an object; otherwise each is a perf event, which is
    /// slow to disarm.
    pub(super) fn is_multi(&self) -> bool {
        self.program == "hit_multi"
    }

    /// Links for all of `sites` that the kernel takes.
    pub(super) fn link(&self, file: &File, sites: &[Site], marks: Marks) -> Result<Outcome<UProbeLink>, ProbeError> {
        let points = sites.iter().map(|site| marks.point(site)).collect::<Result<Vec<_>, _>>()?;
        touch(file, sites);
        // The file that was opened, whatever has become of its name.
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut programs = lock(&self.programs);
        let hit: &mut UProbe = super::programs::find(&mut programs, self.program)?;
        let per_link = if self.is_multi() { MAX_SITES_PER_LINK } else { 1 };
        let mut spare = self.spare;
        bisect::arm(points.len(), per_link, |range| {
            if spare == 0 {
                return Attempt::Refused(io::Error::from_raw_os_error(libc::EMFILE));
            }
            let attempt = attach(hit, &target, points.get(range).unwrap_or_default());
            spare -= usize::from(matches!(attempt, Attempt::Armed(_)));
            attempt
        })
    }
}

impl Marks {
    fn point(self, site: &Site) -> Result<UProbeAttachPoint<'static>, ProbeError> {
        let Self { object, stripes_log2, once } = self;
        let (cookie, slot) = match site.observe {
            Observe::Count { slot } => (Cookie::count(object, stripes_log2, slot.0), slot),
            Observe::Branch { condition, taken } => (Cookie::branch(object, stripes_log2, taken.0, condition.0), taken),
        };
        let mut cookie = cookie.ok_or(ProbeError::TooManyCounters { slots: slot.0, limit: MAX_SLOTS })?;
        if once {
            cookie = cookie.once();
        }
        if site.instruction == Instruction::SingleStepped {
            cookie = cookie.stepped();
        }
        let location = UProbeAttachLocation::AbsoluteOffset(site.offset.0);
        Ok(UProbeAttachPoint { location, cookie: Some(cookie.0) })
    }
}

/// The links of an armed object; nothing when it was disarmed.
#[derive(Clone)]
pub(super) struct Armed(Arc<Mutex<Option<Vec<UProbeLink>>>>);

impl Armed {
    pub(super) fn new(links: Vec<UProbeLink>) -> Self {
        Self(Arc::new(Mutex::new(Some(links))))
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).as_ref().map_or(0, Vec::len)
    }

    /// More links; they go at once if the object was disarmed.
    pub(super) fn extend(&self, more: Vec<UProbeLink>) {
        if let Some(links) = &mut *lock(&self.0) {
            links.extend(more);
        }
    }

    /// Disarms.
    pub(super) fn take(&self) -> Old {
        Old(lock(&self.0).take().unwrap_or_default())
    }
}

/// An armed object, in the hands of another thread than that which armed it.
pub struct Links {
    pub(super) linker: Linker,
    pub(super) file: File,
    pub(super) marks: Marks,
    pub(super) counters: Arc<Counters>,
    pub(super) armed: Armed,
}

impl Links {
    /// Arms more sites. Their slots must be among those that the object was armed with.
    ///
    /// # Errors
    /// The kernel arms nothing, or the object was disarmed meanwhile.
    pub fn add(&self, sites: &[Site], once: bool) -> Result<Vec<Refused>, ProbeError> {
        let (new, refused) = self.link(sites, once)?;
        match &mut *lock(&self.armed.0) {
            Some(links) => links.extend(new),
            None => return Err(ProbeError::NotArmed),
        }
        Ok(refused)
    }

    /// Arms `sites` and gives back what was armed until now. Until that is dropped, a site that stands in both counts
    /// twice.
    ///
    /// # Errors
    /// The kernel arms nothing, or the object was disarmed meanwhile.
    pub fn replace(&self, sites: &[Site], once: bool) -> Result<Old, ProbeError> {
        let (new, _) = self.link(sites, once)?;
        match &mut *lock(&self.armed.0) {
            Some(links) => Ok(Old(std::mem::replace(links, new))),
            None => Err(ProbeError::NotArmed),
        }
    }

    /// The object's counters by slot, as they are now.
    #[must_use]
    pub fn counters(&self) -> Vec<u64> {
        self.counters.read()
    }

    /// One of them; `None` if there is no such slot.
    #[must_use]
    pub fn counter(&self, slot: SlotId) -> Option<u64> {
        self.counters.get(slot.0)
    }

    /// The object's file, as it was armed.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    fn link(&self, sites: &[Site], once: bool) -> Result<(Vec<UProbeLink>, Vec<Refused>), ProbeError> {
        let Outcome { links, refused } = self.linker.link(&self.file, sites, Marks { once, ..self.marks })?;
        Ok((links, refused.into_iter().map(|(site, reason)| Refused { site, reason }).collect()))
    }
}

/// Links that are no longer wanted. Dropping them disarms, which takes tens of milliseconds, unless another process
/// holds them too.
pub struct Old(Vec<UProbeLink>);

impl Old {
    /// Both.
    pub(super) fn with(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        close(std::mem::take(&mut self.0));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
