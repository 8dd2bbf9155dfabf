//! Probes that go when they have done their work: a thread that answers the kernel's requests.
//!
//! It has a queue of its own, and nothing that the rest of the agent does holds it up: a process may be in a loop whose
//! probes wait to be taken out. Whatever becomes of it, counting goes on.

mod budget;
mod held;
mod object;
mod over;
mod relink;

pub use budget::Budget;

use super::{Lingering, journal};
use crate::object::FileOffset;
use crate::plan::{Frozen, ProbePlan};
use crate::probe::{ArmedId, Asked, Links, Requests};
use crate::process::{Breakpoint, Foreign, ForeignError, Removed};
use budget::Ledger;
use held::Held;
use object::Object;
use relink::Relinker;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many requests are answered together.
const BATCH: usize = 4096;

/// How long a process is left alone in which nothing could be disarmed: it may be in a debugger's hands.
const REST: Duration = Duration::from_millis(20);

/// The thread that disarms.
pub struct Disarmer {
    shared: Shared,
    /// Whether counters stop before the end.
    stops: bool,
    /// Its end ends the thread.
    stop: PipeWriter,
    thread: JoinHandle<io::Result<()>>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disarmed {
    /// Sites that have done their work.
    pub sites: usize,
    /// Counters that have stopped since they cost too much.
    pub stopped: usize,
    /// Breakpoints taken out of processes that ran.
    pub breakpoints: u64,
    /// How often links were replaced by others with fewer sites.
    pub relinked: u64,
    /// Whether the kernel does not let code be written to.
    pub forbidden: bool,
    /// Why the thread ended before its time.
    pub failed: Option<String>,
}

/// What the threads share.
#[derive(Clone, Default)]
struct Shared {
    objects: Arc<Mutex<BTreeMap<ArmedId, Arc<Object>>>>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    breakpoints: AtomicU64,
    relinked: AtomicU64,
    forbidden: AtomicBool,
}

impl Shared {
    fn object(&self, id: ArmedId) -> Option<Arc<Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn all(&self) -> Vec<(ArmedId, Arc<Object>)> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.iter().map(|(id, object)| (*id, Arc::clone(object))).collect()
    }
}

impl Disarmer {
    /// Begins to answer `requests`; those of processes that spend more than the `budget`, if there is one.
    ///
    /// # Errors
    /// When the system fails.
    pub fn start(requests: Requests, lingering: Lingering, budget: Option<Budget>) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let shared = Shared::default();
        let mut answers = Answers {
            requests,
            relinker: Relinker::start(shared.clone(), lingering.clone()),
            lingering,
            shared: shared.clone(),
            ledger: budget.map(Ledger::new),
            lightened: HashMap::new(),
            held: Held::new(),
            resting: HashMap::new(),
            first: None,
            later: false,
        };
        let thread = thread::Builder::new().name("disarm".into()).spawn(move || answers.go_on(&stopped))?;
        Ok(Self { shared, stops: budget.is_some(), stop, thread })
    }

    /// Lets probes of an armed object go; but not those in `shared`, where other tools may have theirs.
    pub fn add(&self, id: ArmedId, links: Links, plan: &ProbePlan, shared: BTreeSet<FileOffset>) {
        let object = Arc::new(Object::new(links, plan, shared, self.stops));
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(id, object);
    }

    /// Has it written to `path` which counters of an object have stopped.
    ///
    /// # Errors
    /// Some have already, and that cannot be written.
    pub fn write_frozen(&self, id: ArmedId, path: PathBuf) -> io::Result<()> {
        let Some(object) = self.shared.object(id) else { return Ok(()) };
        let Some(mut known) = object.budgeted.as_ref().map(object::Budgeted::known) else { return Ok(()) };
        let written =
            if known.anywhere().is_empty() { Ok(()) } else { journal::write_frozen(&path, &known.anywhere()) };
        known.journal = Some(path);
        written
    }

    /// Which counters of an object have stopped for hits in no context.
    #[must_use]
    pub fn frozen(&self, id: ArmedId) -> Frozen {
        self.shared.object(id).map(|object| object.frozen(0)).unwrap_or_default()
    }

    /// Tells what has stopped in contexts.
    #[must_use]
    pub(super) fn in_contexts(&self) -> InContexts {
        InContexts(self.shared.clone())
    }

    /// Forgets an object that is no longer armed.
    pub fn forget(&self, id: ArmedId) {
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Whether it is still at work.
    #[must_use]
    pub fn works(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends it. Gives what it did, and which counters of which objects have stopped for hits in no context.
    #[must_use]
    pub fn end(self) -> (Disarmed, BTreeMap<ArmedId, Frozen>) {
        drop(self.stop);
        let failed = match self.thread.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked".to_owned()),
        };
        let objects = self.shared.all();
        let stops = objects.iter().map(|(id, object)| (*id, object.frozen(0))).filter(|(_, stops)| !stops.is_empty());
        let stops: BTreeMap<ArmedId, Frozen> = stops.collect();
        let Told { breakpoints, relinked, forbidden } = &*self.shared.told;
        let disarmed = Disarmed {
            sites: objects.iter().map(|(_, object)| object.done()).sum(),
            stopped: objects.iter().map(|(_, object)| object.frozen_anywhere().len()).sum(),
            breakpoints: breakpoints.load(Ordering::Relaxed),
            relinked: relinked.load(Ordering::Relaxed),
            forbidden: forbidden.load(Ordering::Relaxed),
            failed,
        };
        (disarmed, stops)
    }
}

/// Which counters have stopped in contexts, for who names these.
pub(super) struct InContexts(Shared);

impl InContexts {
    /// Calls `tell` with each context's number, each object, and what has stopped there.
    pub(super) fn each(&self, mut tell: impl FnMut(u32, ArmedId, &Frozen)) {
        for (id, object) in self.0.all() {
            let known = object.budgeted.as_ref().map(object::Budgeted::known);
            known.iter().flat_map(|known| known.stopped()).for_each(|(context, frozen)| tell(context, id, frozen));
        }
    }

    /// Contexts are over, and their numbers are about to be used again.
    pub(super) fn forget(&self, contexts: &BTreeSet<u32>) {
        for (_, object) in self.0.all() {
            let mut known = object.budgeted.as_ref().map(object::Budgeted::known);
            known.iter_mut().for_each(|known| contexts.iter().for_each(|&context| known.forget(context)));
        }
    }
}

/// The thread's own.
struct Answers {
    requests: Requests,
    shared: Shared,
    relinker: Relinker,
    lingering: Lingering,
    /// What processes spend on hits, where that is limited.
    ledger: Option<Ledger>,
    /// Processes of which sites were taken because they spent too much, and in which contexts that was last.
    lightened: HashMap<u32, u32>,
    /// Where contexts are told apart.
    held: Held,
    /// Processes that are left alone, and since when.
    resting: HashMap<u32, Instant>,
    /// The process that hit first: as long as it is the only one, fewer sites would help nobody.
    first: Option<u32>,
    later: bool,
}

impl Answers {
    fn go_on(&mut self, stopped: &PipeReader) -> io::Result<()> {
        loop {
            let mut ready =
                [PollFd::new(&self.requests, PollFlags::IN), PollFd::new(stopped, PollFlags::IN | PollFlags::HUP)];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let [_, stop] = &ready;
            if !stop.revents().is_empty() {
                return Ok(());
            }
            let batch: Vec<Asked> = std::iter::from_fn(|| self.requests.take()).take(BATCH).collect();
            self.answer(&batch);
        }
    }

    fn answer(&mut self, batch: &[Asked]) {
        let contexts = self.requests.has_contexts();
        let mut targets: BTreeMap<(u32, u32, ArmedId), BTreeSet<Breakpoint>> = BTreeMap::new();
        let mut objects: BTreeMap<ArmedId, Arc<Object>> = BTreeMap::new();
        for asked in batch {
            // A hit that is wanted once may be that by which the process has spent too much.
            self.over(asked);
            if !asked.once || (contexts && !(self.holds(asked) && self.held.is_news(asked))) {
                continue;
            }
            self.later |= *self.first.get_or_insert(asked.pid) != asked.pid;
            let Some(object) = objects.get(&asked.object).cloned().or_else(|| self.shared.object(asked.object)) else {
                continue;
            };
            if let Some((index, site)) = object.site(asked.slot)
                && (if contexts { object.hit_in_context(index, site) } else { object.hit(index, site) })
                && object.may_go(site)
            {
                let breakpoint = Breakpoint { address: asked.address, offset: site.offset.0 };
                targets.entry((asked.pid, asked.context, asked.object)).or_default().insert(breakpoint);
            }
            objects.insert(asked.object, object);
        }
        for ((pid, context, id), breakpoints) in targets {
            if let Some(object) = objects.get(&id) {
                self.remove((pid, context), object, breakpoints);
            }
        }
        // A later context needs all sites.
        if contexts {
            return;
        }
        for (id, object) in objects {
            let (since, linked) = {
                let progress = object.progress();
                (progress.since, progress.linked)
            };
            // Counters that go on counting would count twice what both old and new links have.
            if self.ledger.is_some() {
                continue;
            }
            if self.later || self.shared.told.forbidden.load(Ordering::Relaxed) {
                self.relinker.consider(id, since, linked);
            }
        }
    }

    /// Whether a process is left alone for now.
    fn rests(&self, pid: u32) -> bool {
        self.shared.told.forbidden.load(Ordering::Relaxed)
            || self.resting.get(&pid).is_some_and(|since| since.elapsed() < REST)
    }

    /// Whether something may go from the process that asks without that an exec meanwhile is missed.
    fn holds(&mut self, asked: &Asked) -> bool {
        if !self.requests.has_contexts() {
            return true;
        }
        let held = if self.rests(asked.pid) { Ok(false) } else { self.held.hold(asked) };
        held.unwrap_or_else(|error| {
            self.took(asked.pid, &Err(error));
            false
        })
    }

    /// Takes breakpoints out of a process in a context.
    fn remove(&mut self, who: (u32, u32), object: &Object, breakpoints: BTreeSet<Breakpoint>) {
        let breakpoints: Vec<Breakpoint> = breakpoints.into_iter().collect();
        self.take(who, |process| process.remove(object.links.file(), &breakpoints));
    }

    /// Takes the breakpoints at these places of the object's file out of a process in a context.
    fn remove_at(&mut self, who: (u32, u32), object: &Object, offsets: &[u64]) {
        let file = object.links.file();
        self.take(who, |process| process.remove(file, &process.places(file, offsets)?));
    }

    fn take(&mut self, who: (u32, u32), remove: impl FnOnce(&Foreign) -> Result<Removed, ForeignError>) {
        let (pid, context) = who;
        if self.rests(pid) {
            return;
        }
        self.resting.remove(&pid);
        let removed = if self.requests.has_contexts() {
            self.held.with(pid, context, remove)
        } else {
            Foreign::open(pid).and_then(|process| {
                // If the number was given to another process, that one is not counted.
                match self.requests.is_counted(pid) {
                    Ok(true) => remove(&process),
                    _ => Err(ForeignError::Ended),
                }
            })
        };
        self.took(pid, &removed);
    }

    /// Takes note of what became of a process's breakpoints.
    fn took(&mut self, pid: u32, removed: &Result<Removed, ForeignError>) {
        let told = &self.shared.told;
        match removed {
            Ok(removed) if removed.gone > 0 => {
                told.breakpoints.fetch_add(removed.gone as u64, Ordering::Relaxed);
            }
            Err(ForeignError::Ended) => self.held.forget(pid),
            // Other threads' hits came first, and their sites are gone already.
            Ok(_) if self.ledger.is_some() => {}
            Err(ForeignError::Forbidden(_)) => told.forbidden.store(true, Ordering::Relaxed),
            Ok(_) | Err(ForeignError::Traced { .. } | ForeignError::System(_)) => {
                self.resting.insert(pid, Instant::now());
            }
        }
    }
}
