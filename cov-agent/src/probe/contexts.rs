//! Contexts of the running kernel: what is new of them, and their counters.

use super::error::system_error;
use super::{ArmedId, Pins, ProbeError, running};
use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, MapError, Queue, RingBuf};
use aya::{Ebpf, Pod};
use cov_ebpf_common::{self as common, Config, ContextKey, ENTERED_BYTES, MAX_CONTEXTS, NewsKind, OVER};
use std::os::fd::{AsFd as _, BorrowedFd};

/// What begins a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextOptions {
    /// Whether each executed program does, and with what its context comes.
    pub executed: Option<Area>,
    /// Whether marks do, for the thread or goroutine that reaches them.
    pub marks: bool,
}

/// A part of a program's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Its arguments.
    Arguments,
    /// Its environment.
    Environment,
}

impl ContextOptions {
    /// What the kernel programs are told.
    pub(super) fn flags(self) -> u32 {
        let executed = match self.executed {
            None => 0,
            Some(Area::Arguments) => Config::BY_ARGUMENTS,
            Some(Area::Environment) => Config::BY_ENVIRONMENT,
        };
        Config::CONTEXTS | executed | if self.marks { Config::UNITS } else { 0 }
    }
}

/// What began a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextNews {
    /// A process executed a program: the context began, `before` is the one it was in.
    Executed {
        /// The new context.
        context: u32,
        /// The one before.
        before: u32,
        /// The process.
        process: u32,
        /// When, in nanoseconds since the machine started.
        time: u64,
        /// The number of its control group: the inode of its directory.
        cgroup: u64,
        /// Its arguments or its environment, each with a zero behind it; the beginning, if there are many.
        text: Vec<u8>,
        /// Whether that is all.
        whole: bool,
    },
    /// A mark was reached: the context began.
    Entered {
        /// The new context.
        context: u32,
        /// The one around it.
        around: u32,
        /// The process.
        process: u32,
        /// The mark's number.
        mark: u16,
        /// The instruction's address in the process.
        address: u64,
        /// The name, as far as it lies at the mark.
        text: [Vec<u8>; 2],
    },
    /// A process ended in the context.
    Ended {
        /// The context.
        context: u32,
        /// The process.
        process: u32,
        /// How, as wait(2) tells it.
        status: u32,
    },
    /// A thread ended before it reached the end of the context.
    Cut {
        /// The context.
        context: u32,
        /// The process.
        process: u32,
        /// How the process ends, as wait(2) tells it.
        status: u32,
    },
}

/// How often a counter was hit in a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextCount {
    /// The context.
    pub context: u32,
    /// The object.
    pub object: ArmedId,
    /// The counter.
    pub slot: u32,
    /// The hits.
    pub count: u64,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) ContextKey);

// SAFETY: three 32-bit integers without padding.
#[expect(unsafe_code, reason = "the marker that lets the map copy it as bytes")]
unsafe impl Pod for Key {}

/// The maps of the loaded programs that have to do with contexts.
pub(super) struct Contexts {
    news: RingBuf<MapData>,
    counters: HashMap<MapData, Key, u64>,
    users: Array<MapData, u64>,
    free: Queue<MapData, u32>,
    /// With what executed programs' contexts come, if these begin any.
    executed: Option<Area>,
}

fn read(
    counters: &HashMap<MapData, Key, u64>,
    wanted: &dyn Fn(ArmedId, u32) -> bool,
) -> Result<Vec<ContextCount>, ProbeError> {
    let mut counts = Vec::new();
    for entry in counters.iter() {
        let (Key(ContextKey { context, object, slot }), count) =
            entry.map_err(|error| ProbeError::of("reading the counters of contexts", error))?;
        let object = ArmedId(object);
        if wanted(object, context) {
            counts.push(ContextCount { context, object, slot, count });
        }
    }
    Ok(counts)
}

/// The counters that are in a map that was kept.
pub(super) fn kept(map: MapData) -> Result<Vec<ContextCount>, ProbeError> {
    let map = HashMap::try_from(Map::HashMap(map)).map_err(|error| ProbeError::of("reading kept contexts", error))?;
    read(&map, &|_, _| true)
}

fn take<T>(programs: &mut Ebpf, name: &'static str) -> Result<T, ProbeError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let doing = "finding the contexts";
    let map = programs.take_map(name).ok_or(ProbeError::Kernel { doing, source: name.into() })?;
    T::try_from(map).map_err(|error| ProbeError::of(doing, error))
}

impl Contexts {
    /// Makes all numbers free.
    pub(super) fn new(programs: &mut Ebpf, options: ContextOptions) -> Result<Self, ProbeError> {
        let mut contexts = Self {
            news: take(programs, common::NEWS)?,
            counters: take(programs, common::CONTEXT_COUNTERS)?,
            users: take(programs, common::USERS)?,
            free: take(programs, common::FREE)?,
            executed: options.executed,
        };
        (1..MAX_CONTEXTS).try_for_each(|number| contexts.release(number))?;
        Ok(contexts)
    }

    /// Begins a context for a process that runs already; `None` where programs begin none, or no number is left.
    pub(super) fn begin_running(&mut self, process: u32) -> Result<Option<ContextNews>, ProbeError> {
        let Some(area) = self.executed else { return Ok(None) };
        let context = match self.free.pop(0) {
            Ok(context) => context,
            Err(MapError::ElementNotFound) => return Ok(None),
            Err(error) => return Err(ProbeError::of("beginning a context", error)),
        };
        // Nobody else is in it, so nobody else adds to it.
        self.users.set(context, &1, 0).map_err(|error| ProbeError::of("beginning a context", error))?;
        Ok(Some(running::executed(process, context, area)))
    }

    /// Readable when there is news.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// What is new.
    pub(super) fn news(&mut self) -> Vec<ContextNews> {
        let mut all = Vec::new();
        while let Some(item) = self.news.next() {
            all.extend(decode(&item));
        }
        all
    }

    /// Whether nobody is in the context any more.
    pub(super) fn is_over(&self, context: u32) -> Result<bool, ProbeError> {
        let users = self.users.get(&context, 0).map_err(|error| ProbeError::of("asking for a context", error))?;
        Ok(users % OVER == 0)
    }

    /// The counters that are `wanted`.
    pub(super) fn counts(&self, wanted: &dyn Fn(ArmedId, u32) -> bool) -> Result<Vec<ContextCount>, ProbeError> {
        read(&self.counters, wanted)
    }

    /// The map of the counters.
    pub(super) fn counters(&self) -> &MapData {
        self.counters.map()
    }

    /// Keeps the counters beyond the end of this process.
    pub(super) fn keep(&self, pins: &Pins) -> Result<(), ProbeError> {
        pins.pin(self.counters.map(), common::CONTEXT_COUNTERS)
    }

    /// Removes counters that nobody adds to.
    pub(super) fn forget(&mut self, counts: &[ContextCount]) -> Result<(), ProbeError> {
        counts.iter().try_for_each(|&ContextCount { context, object, slot, .. }| {
            match self.counters.remove(&Key(ContextKey { context, object: object.0, slot })) {
                Err(error) if system_error(&error) != Some(libc::ENOENT) => {
                    Err(ProbeError::of("removing the counters of contexts", error))
                }
                _ => Ok(()),
            }
        })
    }

    /// Lets the number of a context that is over, and has no counters, be used again.
    pub(super) fn release(&mut self, context: u32) -> Result<(), ProbeError> {
        let doing = "freeing a context";
        self.users.set(context, &0, 0).map_err(|error| ProbeError::of(doing, error))?;
        self.free.push(&context, 0).map_err(|error| ProbeError::of(doing, error))
    }
}

/// Reads what the kernel side wrote; nothing of what is too short for it.
fn decode(bytes: &[u8]) -> Option<ContextNews> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let long = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes);
    let rest = bytes.get(size_of::<common::News>()..)?;
    let (kind, context, other, process, status) = (word(0)?, word(4)?, word(8)?, word(12)?, word(16)?);
    let (mark, length, second) = (word(20)?, word(24)?, word(28)?);
    let (time, cgroup, address) = (long(32)?, long(40)?, long(48)?);
    let text = |from: usize, length: u32, room: usize| {
        let end = from + (length as usize).min(room);
        rest.get(from..end).unwrap_or_default().to_vec()
    };
    Some(if kind == NewsKind::Executed as u32 {
        let text = text(0, length, rest.len());
        let whole = text.len() == length as usize;
        ContextNews::Executed { context, before: other, process, time, cgroup, text, whole }
    } else if kind == NewsKind::Entered as u32 {
        let half = ENTERED_BYTES / 2;
        let first = if second == 0 { ENTERED_BYTES } else { half };
        let text = [text(0, length, first), text(half, second, half)];
        let mark = u16::try_from(mark).ok()?;
        ContextNews::Entered { context, around: other, process, mark, address, text }
    } else if kind == NewsKind::Ended as u32 {
        ContextNews::Ended { context, process, status }
    } else if kind == NewsKind::Cut as u32 {
        ContextNews::Cut { context, process, status }
    } else {
        return None;
    })
}
