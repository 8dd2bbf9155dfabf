//! Probes that go when they have done their work: a thread that answers the kernel's requests.
//!
//! It has a queue of its own, and nothing that the rest of the agent does holds it up: a process may be in a loop whose
//! probes wait to be taken out. Whatever becomes of it, counting goes on.

mod object;
mod relink;

use super::Lingering;
use crate::object::FileOffset;
use crate::plan::ProbePlan;
use crate::probe::{ArmedId, Asked, Links, Requests};
use crate::process::{Breakpoint, Foreign, ForeignError};
use object::Object;
use relink::Relinker;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter};
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
    /// Its end ends the thread.
    stop: PipeWriter,
    thread: JoinHandle<io::Result<()>>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disarmed {
    /// Sites that have done their work.
    pub sites: usize,
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
}

impl Disarmer {
    /// Begins to answer `requests`.
    ///
    /// # Errors
    /// When the system fails.
    pub fn start(requests: Requests, lingering: Lingering) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let shared = Shared::default();
        let mut answers = Answers {
            requests,
            relinker: Relinker::start(shared.clone(), lingering),
            shared: shared.clone(),
            resting: HashMap::new(),
            first: None,
            later: false,
        };
        let thread = thread::Builder::new().name("disarm".into()).spawn(move || answers.go_on(&stopped))?;
        Ok(Self { shared, stop, thread })
    }

    /// Lets probes of an armed object go; but not those in `shared`, where other tools may have theirs.
    pub fn add(&self, id: ArmedId, links: Links, plan: &ProbePlan, shared: BTreeSet<FileOffset>) {
        let object = Arc::new(Object::new(links, plan, shared));
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(id, object);
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

    /// Ends it.
    #[must_use]
    pub fn end(self) -> Disarmed {
        drop(self.stop);
        let failed = match self.thread.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked".to_owned()),
        };
        let objects = self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let Told { breakpoints, relinked, forbidden } = &*self.shared.told;
        Disarmed {
            sites: objects.values().map(|object| object.done()).sum(),
            breakpoints: breakpoints.load(Ordering::Relaxed),
            relinked: relinked.load(Ordering::Relaxed),
            forbidden: forbidden.load(Ordering::Relaxed),
            failed,
        }
    }
}

/// The thread's own.
struct Answers {
    requests: Requests,
    shared: Shared,
    relinker: Relinker,
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
        let mut targets: BTreeMap<(u32, ArmedId), BTreeSet<Breakpoint>> = BTreeMap::new();
        let mut objects: BTreeMap<ArmedId, Arc<Object>> = BTreeMap::new();
        for asked in batch {
            self.later |= *self.first.get_or_insert(asked.pid) != asked.pid;
            let Some(object) = objects.get(&asked.object).cloned().or_else(|| self.shared.object(asked.object)) else {
                continue;
            };
            if let Some((index, site)) = object.site(asked.slot)
                && object.hit(index, site)
                && object.may_go(site)
            {
                let breakpoint = Breakpoint { address: asked.address, offset: site.offset.0 };
                targets.entry((asked.pid, asked.object)).or_default().insert(breakpoint);
            }
            objects.insert(asked.object, object);
        }
        for ((pid, id), breakpoints) in targets {
            if let Some(object) = objects.get(&id) {
                self.remove(pid, object, breakpoints);
            }
        }
        for (id, object) in objects {
            let (since, linked) = {
                let progress = object.progress();
                (progress.since, progress.linked)
            };
            if self.later || self.shared.told.forbidden.load(Ordering::Relaxed) {
                self.relinker.consider(id, since, linked);
            }
        }
    }

    /// Takes breakpoints out of a process.
    fn remove(&mut self, pid: u32, object: &Object, breakpoints: BTreeSet<Breakpoint>) {
        let forbidden = &self.shared.told.forbidden;
        if forbidden.load(Ordering::Relaxed) || self.resting.get(&pid).is_some_and(|since| since.elapsed() < REST) {
            return;
        }
        self.resting.remove(&pid);
        let breakpoints: Vec<Breakpoint> = breakpoints.into_iter().collect();
        let removed = Foreign::open(pid).and_then(|process| {
            // If the number was given to another process, that one is not counted.
            match self.requests.is_counted(pid) {
                Ok(true) => process.remove(object.links.file(), &breakpoints),
                _ => Err(ForeignError::Ended),
            }
        });
        match removed {
            Ok(removed) if removed.gone > 0 => {
                self.shared.told.breakpoints.fetch_add(removed.gone as u64, Ordering::Relaxed);
            }
            Err(ForeignError::Ended) => {}
            Err(ForeignError::Forbidden(_)) => forbidden.store(true, Ordering::Relaxed),
            Ok(_) | Err(ForeignError::Traced { .. } | ForeignError::System(_)) => {
                self.resting.insert(pid, Instant::now());
            }
        }
    }
}
