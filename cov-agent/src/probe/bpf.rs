//! The running kernel, through bpf(2).

use super::bisect::{self, Attempt, MAX_SITES_PER_LINK, Outcome};
use super::contexts::{ContextOptions, Contexts};
use super::counters::Counters;
use super::descriptors;
use super::error::system_error;
use super::links::{attach, close, touch};
use super::missed;
use super::pins::{self, Pins};
use super::{
    Armed, ArmedId, ContextCount, ContextNews, Kernel, KernelLosses, NumberedMark, ProbeError, Refused, namespace,
};
use crate::plan::{Observe, Site};
use aya::maps::{ArrayOfMaps, HashMap, MapData, MapError};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink};
use aya::programs::{ProgramError, RawTracePoint, UProbe};
use aya::sys::UProbeMultiFeature;
use aya::{Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use cov_ebpf_common::{self as common, Config, Cookie, MAX_OBJECTS, MAX_SLOTS, MAX_TRACKED};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// The kernel programs, built by `cargo xtask ebpf`.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!("cov-ebpf.o");

const PAGE: u32 = 4096;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Globals(Config);

// SAFETY: 32-bit integers without padding, which is what `Pod` asks for.
#[expect(unsafe_code, reason = "the marker that lets the loader copy it as bytes")]
unsafe impl Pod for Globals {}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether processes that a counted one forks are counted too.
    pub follow: bool,
    /// Whether to use a perf event for each probe even where the kernel has `uprobe.multi`.
    pub one_by_one: bool,
    /// Whether hits are told apart by context.
    pub contexts: Option<ContextOptions>,
    /// Whether lines of Python may be counted.
    pub python: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { follow: true, one_by_one: false, contexts: None, python: false }
    }
}

/// The running kernel. Dropping it disarms everything and waits for that.
pub struct Bpf {
    /// Some program holds the links of the objects and stands before them: links go first.
    pub(super) objects: Vec<Option<Object>>,
    pub(super) programs: Ebpf,
    /// Links that count lines of Python.
    pub(super) python: Vec<OwnedFd>,
    program: &'static str,
    cpus: u32,
    /// Counters on their way to the programs.
    sharing: Vec<JoinHandle<Result<(), ProbeError>>>,
    /// Whether a process is, or was, counted: its hits must find their counters.
    counting: bool,
    contexts: Option<Contexts>,
    /// What watches the variables of processes.
    pub(super) watching: Vec<UProbeLink>,
    /// How many links there may be, since each is a descriptor.
    spare: usize,
}

pub(super) struct Object {
    counters: Counters,
    pub(super) links: Vec<UProbeLink>,
}

impl Bpf {
    /// Loads the kernel programs; begins to follow processes if `options` say so.
    ///
    /// # Errors
    /// No permission, no memory, or a kernel that lacks what is needed.
    pub fn new(options: Options) -> Result<Self, ProbeError> {
        let flags = options.contexts.map_or(0, ContextOptions::flags);
        let config = Globals(namespace::config(options.follow, flags)?);
        let mut loader = EbpfLoader::new();
        loader.override_global(common::CONFIG, &config, true).verifier_log_level(VerifierLogLevel::DISABLE);
        if options.contexts.is_none() {
            // What is not used takes no memory.
            for map in [common::CONTEXT_COUNTERS, common::USERS, common::FREE, common::UNITS] {
                loader.map_max_entries(map, 1);
            }
            loader.map_max_entries(common::NEWS, PAGE);
        }
        if !options.python {
            for map in [common::PYTHON_FILES, common::PYTHON_LINES] {
                loader.map_max_entries(map, 1);
            }
        }
        let mut programs =
            loader.load(PROGRAMS).map_err(|error| ProbeError::of("loading the kernel programs", error))?;
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| ProbeError::of(file, error))?.get();
        let multi = !options.one_by_one && has_multi()?;
        let program = if multi { "hit_multi" } else { "hit" };
        // Raised in every case: counters, processes and events have descriptors too.
        let room = descriptors::for_probes();
        let spare = if multi { usize::MAX } else { room };
        let hit: &mut UProbe = find(&mut programs, program)?;
        hit.load().map_err(|error| ProbeError::of("loading the counting program", error))?;
        if options.follow || options.contexts.is_some() {
            let executed =
                options.contexts.and_then(|contexts| contexts.executed).map(|_| ("exec", "sched_process_exec"));
            for (name, tracepoint) in
                [("fork", "sched_process_fork"), ("exit", "sched_process_exit")].into_iter().chain(executed)
            {
                let program: &mut RawTracePoint = find(&mut programs, name)?;
                program
                    .load()
                    .and_then(|()| program.attach(tracepoint))
                    .map_err(|error| ProbeError::of("following processes", error))?;
            }
        }
        let contexts = options.contexts.map(|_| Contexts::new(&mut programs)).transpose()?;
        let (objects, python, sharing) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            objects,
            programs,
            python,
            program,
            cpus,
            sharing,
            counting: false,
            spare,
            watching: Vec::new(),
            contexts,
        })
    }

    /// Whether one link carries all probes of an object; otherwise each is a perf event, which is
    /// slow to disarm.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.program == "hit_multi"
    }

    /// A descriptor that is readable when there is news of contexts.
    #[must_use]
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.contexts.as_ref().map(Contexts::readable)
    }

    /// Leaves room for so many links only.
    #[cfg(test)]
    pub(super) fn leave_room_for(&mut self, links: usize) {
        self.spare = links;
    }

    fn object(&self, id: ArmedId) -> Result<&Object, ProbeError> {
        self.objects.get(id.0 as usize).and_then(Option::as_ref).ok_or(ProbeError::NotArmed)
    }

    fn tracked(&mut self) -> Result<HashMap<&mut MapData, u32, u32>, ProbeError> {
        let map = self.programs.map_mut(common::TRACKED).ok_or(missing("TRACKED"))?;
        HashMap::try_from(map).map_err(|error| ProbeError::of("finding the tracked processes", error))
    }

    /// The processes that are counted now, by number.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn tracked_processes(&mut self) -> Result<Vec<u32>, ProbeError> {
        let tracked = self.tracked()?;
        let pids: Result<std::collections::BTreeSet<_>, _> = tracked.keys().collect();
        pids.map(|pids| pids.into_iter().collect()).map_err(|error| ProbeError::of("listing processes", error))
    }

    fn missed(&self, program: &str) -> u64 {
        let fd = self.programs.program(program).and_then(|program| program.fd().ok());
        fd.map_or(0, |fd| missed::of(fd.as_fd()))
    }

    /// Lets the programs find an object's counters. The kernel takes note at once, but lets the caller
    /// wait for a grace period, some 5 ms: another thread does, while this one arms.
    fn share(&mut self, index: u32, counters: &Counters) -> Result<(), ProbeError> {
        let doing = "sharing the counters";
        let Some(aya::maps::Map::ArrayOfMaps(outer)) = self.programs.map(common::COUNTERS) else {
            return Err(missing("COUNTERS"));
        };
        let copy = |map: &MapData| {
            let fd = map.fd().as_fd().try_clone_to_owned().map_err(|error| ProbeError::of(doing, error))?;
            MapData::from_fd(fd).map_err(|error| ProbeError::of(doing, error))
        };
        let (outer, inner) = (copy(outer)?, copy(counters.map())?);
        self.sharing.push(thread::spawn(move || {
            ArrayOfMaps::<_, MapData>::try_from(aya::maps::Map::ArrayOfMaps(outer))
                .and_then(|mut maps| maps.set(index, &inner, 0))
                .map_err(|error| ProbeError::of(doing, error))
        }));
        Ok(())
    }

    /// Waits until the programs find all counters.
    fn settle(&mut self) -> Result<(), ProbeError> {
        self.sharing.drain(..).try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Links for all of `points` that the kernel takes.
    fn link(
        &mut self,
        target: &Path,
        points: &[UProbeAttachPoint<'static>],
    ) -> Result<Outcome<UProbeLink>, ProbeError> {
        let per_link = if self.is_multi() { MAX_SITES_PER_LINK } else { 1 };
        let links: usize = self.objects.iter().flatten().map(|object| object.links.len()).sum();
        let mut spare = self.spare.saturating_sub(links);
        let hit: &mut UProbe = find(&mut self.programs, self.program)?;
        bisect::arm(points.len(), per_link, |range| {
            if spare == 0 {
                return Attempt::Refused(io::Error::from_raw_os_error(libc::EMFILE));
            }
            let attempt = attach(hit, target, points.get(range).unwrap_or_default());
            spare -= usize::from(matches!(attempt, Attempt::Armed(_)));
            attempt
        })
    }
}

impl Kernel for Bpf {
    fn attach(&mut self, file: &File, sites: &[Site], slots: u32) -> Result<Armed, ProbeError> {
        if slots >= MAX_SLOTS {
            return Err(ProbeError::TooManyCounters { slots, limit: MAX_SLOTS });
        }
        let free = self.objects.iter().position(Option::is_none).unwrap_or(self.objects.len());
        let index = u32::try_from(free).unwrap_or(u32::MAX);
        if index >= MAX_OBJECTS {
            return Err(ProbeError::TooManyObjects { limit: MAX_OBJECTS });
        }
        let counters = Counters::new(slots, self.cpus)?;
        self.share(index, &counters)?;
        let stripes_log2 = counters.striping().stripes_log2();
        let points = sites
            .iter()
            .map(|site| {
                let cookie = match site.observe {
                    Observe::Count { slot } => Cookie::count(index, stripes_log2, slot.0),
                    Observe::Branch { condition, taken } => Cookie::branch(index, stripes_log2, taken.0, condition.0),
                };
                let cookie = cookie.ok_or(ProbeError::TooManyCounters { slots, limit: MAX_SLOTS })?;
                let location = UProbeAttachLocation::AbsoluteOffset(site.offset.0);
                Ok(UProbeAttachPoint { location, cookie: Some(cookie.0) })
            })
            .collect::<Result<Vec<_>, ProbeError>>()?;
        touch(file, sites);
        // The file that was opened, whatever has become of its name.
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let linked = self.link(&target, &points);
        if self.counting || linked.is_err() {
            // Also before the place is given to another object.
            self.settle()?;
        }
        let Outcome { links, refused } = linked?;
        let refused = refused.into_iter().map(|(site, reason)| Refused { site, reason }).collect();
        let object = Some(Object { counters, links });
        match self.objects.get_mut(free) {
            Some(place) => *place = object,
            None => self.objects.push(object),
        }
        Ok(Armed { id: ArmedId(index), refused })
    }

    fn track(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.settle()?;
        self.counting = true;
        match self.tracked()?.insert(&pid, &0, 0) {
            Err(error) if system_error(&error) == Some(libc::E2BIG) => {
                Err(ProbeError::TooManyProcesses { pid, limit: MAX_TRACKED })
            }
            result => result.map_err(|error| ProbeError::of("counting a process", error)),
        }
    }

    fn tracks(&mut self, pid: u32) -> Result<bool, ProbeError> {
        match self.tracked()?.get(&pid, 0) {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(ProbeError::of("asking whether a process is counted", error)),
        }
    }

    fn untrack(&mut self, pid: u32) -> Result<(), ProbeError> {
        match self.tracked()?.remove(&pid) {
            Err(error) if system_error(&error) == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|error| ProbeError::of("no longer counting a process", error)),
        }
    }

    fn counters(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        Ok(self.object(object)?.counters.read())
    }

    fn losses(&mut self) -> Result<KernelLosses, ProbeError> {
        let mut losses = pins::losses(self.programs.map_mut(common::LOSSES).ok_or(missing("LOSSES"))?)?;
        // What the kernel itself did not let them see.
        losses.hits = losses.hits.saturating_add(self.missed(self.program));
        losses.processes = losses.processes.saturating_add(self.missed("fork"));
        Ok(losses)
    }

    fn mark(&mut self, object: ArmedId, file: &File, marks: &[NumberedMark]) -> Result<(), ProbeError> {
        self.arm_marks(object, file, marks)
    }

    fn watch_variables(&mut self, process: u32) -> Result<(), ProbeError> {
        Bpf::watch_variables(self, process)
    }

    fn news(&mut self) -> Vec<ContextNews> {
        self.contexts.as_mut().map(Contexts::news).unwrap_or_default()
    }

    fn is_over(&mut self, context: u32) -> Result<bool, ProbeError> {
        self.contexts.as_ref().map_or(Ok(true), |contexts| contexts.is_over(context))
    }

    fn context_counts(&mut self, wanted: &dyn Fn(ArmedId, u32) -> bool) -> Result<Vec<ContextCount>, ProbeError> {
        self.contexts.as_ref().map_or(Ok(Vec::new()), |contexts| contexts.counts(wanted))
    }

    fn forget_counts(&mut self, counts: &[ContextCount]) -> Result<(), ProbeError> {
        self.contexts.as_mut().map_or(Ok(()), |contexts| contexts.forget(counts))
    }

    fn release_context(&mut self, context: u32) -> Result<(), ProbeError> {
        self.contexts.as_mut().map_or(Ok(()), |contexts| contexts.release(context))
    }

    fn keep(&mut self, object: ArmedId, pins: &Pins, name: &str) -> Result<(), ProbeError> {
        pins.pin(self.object(object)?.counters.map(), name)
    }

    fn keep_state(&mut self, pins: &Pins) -> Result<(), ProbeError> {
        for name in [common::TRACKED, common::LOSSES] {
            pins.pin_map(self.programs.map(name).ok_or(missing("TRACKED or LOSSES"))?, name)?;
        }
        Ok(())
    }

    fn detach(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        let place = self.objects.get_mut(object.0 as usize).ok_or(ProbeError::NotArmed)?;
        let object = place.take().ok_or(ProbeError::NotArmed)?;
        close(object.links);
        Ok(object.counters.read())
    }
}

impl Drop for Bpf {
    fn drop(&mut self) {
        close(self.objects.drain(..).flatten().flat_map(|object| object.links).collect());
    }
}

fn has_multi() -> Result<bool, ProbeError> {
    aya::sys::is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation)
        .map_err(|error| ProbeError::of("asking for uprobe.multi", error))
}

pub(super) fn find<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = programs.program_mut(name).ok_or(missing(name))?;
    program.try_into().map_err(|error| ProbeError::of("finding the kernel programs", error))
}

pub(super) fn missing(name: &'static str) -> ProbeError {
    ProbeError::Kernel { doing: "finding the kernel programs", source: name.into() }
}
