//! The running kernel, through bpf(2).

use super::bisect::Outcome;
use super::contexts::{ContextOptions, Contexts};
use super::counters::Counters;
use super::descriptors;
use super::live::{self, Linker, Links, Marks, Old};
use super::missed;
use super::pins::{self, Pins};
use super::programs::{find, has_multi, missing};
use super::requests::{Asking, Requests, Tracked, copy};
use super::{
    Armed, ArmedId, ContextCount, ContextNews, Kernel, KernelLosses, NumberedMark, ProbeError, Refused, StoppedThreads,
    namespace, stops, tracepoints,
};
use crate::plan::Site;
use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use aya::programs::UProbe;
use aya::programs::uprobe::UProbeLink;
use aya::{EbpfLoader, Pod, VerifierLogLevel};
use cov_ebpf_common::{self as common, Config, MAX_OBJECTS, MAX_SLOTS};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
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
    /// Whether it is kept where signals end threads.
    pub stops: bool,
    /// Whether, and when, hits ask for probes to be disarmed: then there are [`Requests`].
    pub asking: Asking,
}

impl Default for Options {
    fn default() -> Self {
        Self { follow: true, one_by_one: false, contexts: None, python: false, stops: false, asking: Asking::Never }
    }
}

/// The running kernel. Dropping it disarms everything and waits for that.
pub struct Bpf {
    /// Some program holds the links of the objects and stands before them: links go first.
    pub(super) objects: Vec<Option<Object>>,
    /// Links that count lines of Python.
    pub(super) python: Vec<OwnedFd>,
    pub(super) linker: Linker,
    /// The array of the objects' counters.
    all_counters: MapData,
    tracked: Tracked,
    /// Those that have ended.
    ended: Tracked,
    losses: Map,
    /// Where signals ended threads, where that is kept.
    stops: Option<Map>,
    requests: Option<Requests>,
    cpus: u32,
    /// Counters on their way to the programs.
    sharing: Vec<JoinHandle<Result<(), ProbeError>>>,
    /// Whether a process is, or was, counted: its hits must find their counters.
    counting: bool,
    contexts: Option<Contexts>,
    /// What watches the variables of processes.
    pub(super) watching: Vec<UProbeLink>,
    /// Whether one hit of a site is enough.
    once: bool,
}

pub(super) struct Object {
    counters: Arc<Counters>,
    pub(super) armed: live::Armed,
    file: File,
}

impl Bpf {
    /// Loads the kernel programs; begins to follow processes if `options` say so.
    ///
    /// # Errors
    /// No permission, no memory, or a kernel that lacks what is needed.
    pub fn new(options: Options) -> Result<Self, ProbeError> {
        let flags = options.contexts.map_or(0, ContextOptions::flags);
        let config = Globals(options.asking.configure(namespace::config(options.follow, flags)?));
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
        if !options.stops {
            loader.map_max_entries(common::STOPS, 1);
        }
        for (map, bytes) in options.asking.not_used() {
            loader.map_max_entries(map, bytes);
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
                tracepoints::run(&mut programs, name, tracepoint, "following processes")?;
            }
        }
        if options.stops {
            tracepoints::run(&mut programs, "signal", "signal_deliver", "looking at signals")?;
        }
        let contexts = options.contexts.map(|options| Contexts::new(&mut programs, options)).transpose()?;
        let mut take = |name| programs.take_map(name).ok_or(missing(name));
        let tracked = Tracked::new(take(common::TRACKED)?)?;
        let ended = Tracked::new(take(common::ENDED)?)?;
        let losses = take(common::LOSSES)?;
        let stops = options.stops.then(|| take(common::STOPS)).transpose()?;
        let Map::ArrayOfMaps(all_counters) = take(common::COUNTERS)? else { return Err(missing(common::COUNTERS)) };
        let requests = Requests::find(options.asking, take, &tracked, contexts.as_ref())?;
        if options.contexts.is_none() && !options.python {
            // All programs that will be are loaded and hold their maps; here each is a descriptor.
            let names: Vec<String> = programs.maps().map(|(name, _)| name.to_owned()).collect();
            names.iter().for_each(|name| drop(programs.take_map(name)));
        }
        let linker = Linker { programs: Arc::new(Mutex::new(programs)), program, spare };
        let (objects, python, sharing, counting) = (Vec::new(), Vec::new(), Vec::new(), false);
        let once = options.asking == Asking::EachHit;
        Ok(Self {
            objects,
            linker,
            python,
            all_counters,
            tracked,
            ended,
            losses,
            stops,
            requests,
            cpus,
            sharing,
            counting,
            contexts,
            watching: Vec::new(),
            once,
        })
    }

    /// Whether one link carries all probes of an object; otherwise each is a perf event, which is
    /// slow to disarm.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.linker.is_multi()
    }

    /// A descriptor that is readable when there is news of contexts.
    #[must_use]
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.contexts.as_ref().map(Contexts::readable)
    }

    /// Leaves room for so many links only.
    #[cfg(test)]
    pub(super) fn leave_room_for(&mut self, links: usize) {
        self.linker.spare = links;
    }

    fn object(&self, id: ArmedId) -> Result<&Object, ProbeError> {
        self.objects.get(id.0 as usize).and_then(Option::as_ref).ok_or(ProbeError::NotArmed)
    }

    /// The processes that are counted now, by number.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn tracked_processes(&self) -> Result<Vec<u32>, ProbeError> {
        Ok(self.tracked.pids()?.into_iter().collect())
    }

    /// Whether the process `pid` was counted until it ended. The last few thousand are remembered.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn was_tracked(&self, pid: u32) -> Result<bool, ProbeError> {
        self.ended.has(pid)
    }

    fn missed(&self, program: &str) -> u64 {
        let programs = live::lock(&self.linker.programs);
        let fd = programs.program(program).and_then(|program| program.fd().ok());
        fd.map_or(0, |fd| missed::of(fd.as_fd()))
    }

    /// Lets the programs find an object's counters. The kernel takes note at once, for which this waits where processes are
    /// counted, but lets the caller wait for a grace period, some 5 ms: another thread does, while this one arms.
    fn share(&mut self, index: u32, counters: &Counters) -> Result<(), ProbeError> {
        let failed = |error| ProbeError::of("sharing the counters", error);
        let (outer, inner) = (copy(&self.all_counters)?, copy(counters.map())?);
        let look_for = || {
            // To whoever looks in, the array holds the maps' numbers.
            let numbers: Array<_, u32> = Array::try_from(Map::Array(copy(&self.all_counters)?)).map_err(failed)?;
            Ok::<_, ProbeError>((numbers, counters.map().info().map_err(failed)?.id()))
        };
        let looked_for = self.counting.then(look_for).transpose()?;
        let thread = thread::spawn(move || {
            ArrayOfMaps::<_, MapData>::try_from(Map::ArrayOfMaps(outer))
                .and_then(|mut maps| maps.set(index, &inner, 0))
                .map_err(failed)
        });
        if let Some((numbers, number)) = looked_for {
            while !thread.is_finished() && numbers.get(&index, 0).ok() != Some(number) {
                thread::yield_now();
            }
        }
        self.sharing.push(thread);
        Ok(())
    }

    /// Waits until the programs find all counters.
    fn settle(&mut self) -> Result<(), ProbeError> {
        self.sharing.drain(..).try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
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
        let file = file.try_clone().map_err(|error| ProbeError::of("keeping the object", error))?;
        let counters = Arc::new(Counters::new(slots, self.cpus)?);
        self.share(index, &counters)?;
        let marks = Marks { object: index, stripes_log2: counters.striping().stripes_log2(), once: self.once };
        let links: usize = self.objects.iter().flatten().map(|object| object.armed.len()).sum();
        let linker = Linker { spare: self.linker.spare.saturating_sub(links), ..self.linker.clone() };
        let linked = linker.link(&file, sites, marks);
        if self.counting || linked.is_err() {
            // Also before the place is given to another object.
            self.settle()?;
        }
        let Outcome { links, refused } = linked?;
        let refused = refused.into_iter().map(|(site, reason)| Refused { site, reason }).collect();
        let object = Some(Object { counters, armed: live::Armed::new(links), file });
        match self.objects.get_mut(free) {
            Some(place) => *place = object,
            None => self.objects.push(object),
        }
        Ok(Armed { id: ArmedId(index), refused })
    }

    fn track(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.settle()?;
        self.counting = true;
        self.tracked.insert(pid, 0)
    }

    fn track_running(&mut self, pid: u32) -> Result<Option<ContextNews>, ProbeError> {
        self.settle()?;
        self.counting = true;
        let begun = self.contexts.as_mut().and_then(|contexts| contexts.begin_running(pid).transpose()).transpose()?;
        let context = if let Some(ContextNews::Executed { context, .. }) = begun { context } else { 0 };
        self.tracked.insert(pid, context)?;
        Ok(begun)
    }

    fn tracks(&mut self, pid: u32) -> Result<bool, ProbeError> {
        self.tracked.has(pid)
    }

    fn untrack(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.tracked.remove(pid)
    }

    fn counters(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        Ok(self.object(object)?.counters.read())
    }

    fn losses(&mut self) -> Result<KernelLosses, ProbeError> {
        let mut losses = pins::losses(&mut self.losses)?;
        // What the kernel itself did not let them see.
        losses.hits = losses.hits.saturating_add(self.missed(self.linker.program));
        losses.processes = losses.processes.saturating_add(self.missed("fork"));
        losses.stops = losses.stops.saturating_add(self.missed("signal"));
        Ok(losses)
    }

    fn mark(&mut self, object: ArmedId, file: &File, marks: &[NumberedMark]) -> Result<(), ProbeError> {
        self.arm_marks(object, file, marks)
    }

    fn watch_variables(&mut self, process: u32) -> Result<(), ProbeError> {
        Bpf::watch_variables(self, process)
    }

    fn stops(&mut self) -> Result<Vec<StoppedThreads>, ProbeError> {
        self.stops.as_ref().map_or(Ok(Vec::new()), stops::read)
    }

    fn requests(&mut self) -> Option<Requests> {
        self.requests.take()
    }

    fn links(&self, object: ArmedId) -> Result<Option<Links>, ProbeError> {
        let Object { counters, armed, file } = self.object(object)?;
        let file = file.try_clone().map_err(|error| ProbeError::of("keeping the object", error))?;
        let marks = Marks { object: object.0, stripes_log2: counters.striping().stripes_log2(), once: self.once };
        let (linker, counters, armed) = (self.linker.clone(), Arc::clone(counters), armed.clone());
        Ok(Some(Links { linker, file, marks, counters, armed }))
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
        pins.pin(self.tracked.map(), common::TRACKED)?;
        self.contexts.as_ref().map_or(Ok(()), |contexts| contexts.keep(pins))?;
        pins.pin_map(&self.losses, common::LOSSES)
    }

    fn release(&mut self, object: ArmedId) -> Result<(), ProbeError> {
        drop(self.object(object)?.armed.take());
        Ok(())
    }

    fn detach(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        let place = self.objects.get_mut(object.0 as usize).ok_or(ProbeError::NotArmed)?;
        let object = place.take().ok_or(ProbeError::NotArmed)?;
        drop(object.armed.take());
        Ok(object.counters.read())
    }
}

impl Drop for Bpf {
    fn drop(&mut self) {
        let old = self.objects.drain(..).flatten().map(|object| object.armed.take());
        drop(old.reduce(Old::with));
    }
}
