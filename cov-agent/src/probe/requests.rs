//! The kernel side's requests to disarm, and what counted processes have spent on hits.

use super::contexts::{Contexts, Key};
use super::error::system_error;
use super::{ArmedId, Prices, ProbeError};
use crate::plan::SlotId;
use aya::Pod;
use aya::maps::{HashMap, IterableMap as _, Map, MapData, MapError, RingBuf};
use cov_ebpf_common::{self as common, Ask, Config, ContextKey, MAX_TRACKED, Request, Spending};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value(Spending);

// SAFETY: two 64-bit integers, which is what `Pod` asks for.
#[expect(unsafe_code, reason = "the marker that lets map values be copied as bytes")]
unsafe impl Pod for Value {}

/// Which hits ask for probes to be disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asking {
    /// None.
    #[default]
    Never,
    /// Each: a site that was hit has done its work.
    EachHit,
    /// That by which a process has spent more on hits than it may.
    OverLimit {
        /// What a hit costs.
        prices: Prices,
        /// What each process may spend before it asks first.
        grace: Duration,
    },
}

impl Asking {
    /// Tells the kernel programs.
    pub(super) fn configure(self, config: Config) -> Config {
        let nanos = |price: Duration| u32::try_from(price.as_nanos()).unwrap_or(u32::MAX);
        match self {
            Self::Never => config,
            Self::EachHit => Config { ask: Ask::Once as u32, ..config },
            Self::OverLimit { prices, grace } => Config {
                ask: Ask::OverLimit as u32,
                emulated_ns: nanos(prices.emulated),
                stepped_ns: nanos(prices.single_stepped),
                grace_us: u32::try_from(grace.as_micros()).unwrap_or(u32::MAX),
                ..config
            },
        }
    }

    /// The maps that are not used and need no more than this.
    pub(super) fn not_used(self) -> impl Iterator<Item = (&'static str, u32)> {
        // A ring has at least a page.
        let ring = (self == Self::Never).then_some((common::REQUESTS, 4096));
        let spending = (!matches!(self, Self::OverLimit { .. })).then_some((common::SPENDING, 1));
        ring.into_iter().chain(spending)
    }
}

/// A hit that asks for its probe to be disarmed in the process that hit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The process.
    pub pid: u32,
    /// The context that it was in; 0 if in none.
    pub context: u32,
    /// When: how long after the machine was started.
    pub time: Duration,
    /// Where it has the probed instruction: an address in its memory.
    pub address: u64,
    /// The object.
    pub object: ArmedId,
    /// The site's first counter.
    pub slot: SlotId,
    /// Whether one hit of the site is enough; else the process has spent more than it may.
    pub once: bool,
}

/// Requests, for the thread that answers them.
pub struct Requests {
    ring: RingBuf<MapData>,
    spending: HashMap<MapData, u32, Value>,
    tracked: Tracked,
    /// The counters of hits in contexts, where these are told apart.
    in_contexts: Option<HashMap<MapData, Key, u64>>,
}

impl Requests {
    /// Those of the programs whose maps `take` takes; none where no hit asks.
    pub(super) fn find(
        asking: Asking,
        mut take: impl FnMut(&'static str) -> Result<Map, ProbeError>,
        tracked: &Tracked,
        contexts: Option<&Contexts>,
    ) -> Result<Option<Self>, ProbeError> {
        if asking == Asking::Never {
            return Ok(None);
        }
        let doing = "finding the requests";
        let ring = RingBuf::try_from(take(common::REQUESTS)?).map_err(|error| ProbeError::of(doing, error))?;
        let spending = HashMap::try_from(take(common::SPENDING)?).map_err(|error| ProbeError::of(doing, error))?;
        let counters = contexts.map(|contexts| copy(contexts.counters())).transpose()?;
        let in_contexts = counters.map(|map| HashMap::try_from(Map::HashMap(map))).transpose();
        let in_contexts = in_contexts.map_err(|error| ProbeError::of(doing, error))?;
        Ok(Some(Self { ring, spending, tracked: tracked.copy()?, in_contexts }))
    }

    /// The next one, if there is one.
    pub fn take(&mut self) -> Option<Asked> {
        loop {
            let request = Request::read(&self.ring.next()?);
            if let Some(request) = request {
                let cookie = request.cookie();
                return Some(Asked {
                    pid: request.process,
                    context: request.context,
                    time: Duration::from_nanos(request.time),
                    address: request.address,
                    object: ArmedId(cookie.object()),
                    slot: SlotId(cookie.slot()),
                    once: cookie.is_once(),
                });
            }
        }
    }

    /// Whether hits are told apart by context.
    #[must_use]
    pub fn has_contexts(&self) -> bool {
        self.in_contexts.is_some()
    }

    /// The counters `slots` of an object in the context `context`, as they are now. Looks each up on its own.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn in_context(
        &self,
        context: u32,
        object: ArmedId,
        slots: impl Iterator<Item = u32>,
    ) -> Result<Vec<u64>, ProbeError> {
        let Some(counters) = &self.in_contexts else { return Ok(Vec::new()) };
        let of = |slot| match counters.get(&Key(ContextKey { context, object: object.0, slot }), 0) {
            Err(MapError::KeyNotFound) => Ok(0),
            count => count.map_err(|error| ProbeError::of("reading a counter of a context", error)),
        };
        slots.map(of).collect()
    }

    /// Whether the process `pid` is counted now.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn is_counted(&self, pid: u32) -> Result<bool, ProbeError> {
        self.tracked.has(pid)
    }

    /// The processes that are counted now.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn counted(&self) -> Result<std::collections::BTreeSet<u32>, ProbeError> {
        self.tracked.pids()
    }

    /// What the process `pid` has spent on hits.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn spent(&self, pid: u32) -> Result<Duration, ProbeError> {
        Ok(self.get(pid)?.map_or(Duration::ZERO, |spending| Duration::from_nanos(spending.spent)))
    }

    /// Lets the process `pid` spend so much in all before it asks again. No error if it has ended. What hits spend
    /// meanwhile is forgotten: a few of them.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn allow(&mut self, pid: u32, limit: Duration) -> Result<(), ProbeError> {
        const BPF_EXIST: u64 = 2;
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX - 1);
        let Some(spending) = self.get(pid)? else { return Ok(()) };
        match self.spending.insert(&pid, &Value(Spending { limit, ..spending }), BPF_EXIST) {
            Err(error) if system_error(&error) == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|error| ProbeError::of("setting a limit", error)),
        }
    }

    fn get(&self, pid: u32) -> Result<Option<Spending>, ProbeError> {
        match self.spending.get(&pid, 0) {
            Ok(Value(spending)) => Ok(Some(spending)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(ProbeError::of("asking what a process has spent", error)),
        }
    }
}

impl AsFd for Requests {
    /// Can be read when there are requests.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The counted processes.
pub(super) struct Tracked(HashMap<MapData, u32, u32>);

impl Tracked {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        HashMap::try_from(map).map(Self).map_err(|error| ProbeError::of("finding the tracked processes", error))
    }

    pub(super) fn map(&self) -> &MapData {
        self.0.map()
    }

    fn copy(&self) -> Result<Self, ProbeError> {
        Self::new(Map::HashMap(copy(self.0.map())?))
    }

    /// Counts a process, in a context.
    pub(super) fn insert(&mut self, pid: u32, context: u32) -> Result<(), ProbeError> {
        match self.0.insert(&pid, &context, 0) {
            Err(error) if system_error(&error) == Some(libc::E2BIG) => {
                Err(ProbeError::TooManyProcesses { pid, limit: MAX_TRACKED })
            }
            result => result.map_err(|error| ProbeError::of("counting a process", error)),
        }
    }

    pub(super) fn has(&self, pid: u32) -> Result<bool, ProbeError> {
        match self.0.get(&pid, 0) {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(ProbeError::of("asking whether a process is counted", error)),
        }
    }

    pub(super) fn remove(&mut self, pid: u32) -> Result<(), ProbeError> {
        match self.0.remove(&pid) {
            Err(error) if system_error(&error) == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|error| ProbeError::of("no longer counting a process", error)),
        }
    }

    pub(super) fn pids(&self) -> Result<std::collections::BTreeSet<u32>, ProbeError> {
        self.0.keys().collect::<Result<_, _>>().map_err(|error| ProbeError::of("listing processes", error))
    }
}

/// Another handle of the same map.
pub(super) fn copy(map: &MapData) -> Result<MapData, ProbeError> {
    let doing = "sharing a map";
    let fd = map.fd().as_fd().try_clone_to_owned().map_err(|error| ProbeError::of(doing, error))?;
    MapData::from_fd(fd).map_err(|error| ProbeError::of(doing, error))
}
