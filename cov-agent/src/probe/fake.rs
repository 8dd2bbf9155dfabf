//! A kernel for tests that need none: it counts only what is attached, refuses what it is told to
//! refuse, and can run out of room.

use super::{Armed, ArmedId, ContextCount, ContextNews, Kernel, KernelLosses, NumberedMark, Pins, ProbeError, Refused};
use crate::plan::{Observe, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Which file, as the kernel tells files apart: device and inode.
type FileKey = (u64, u64);

/// A kernel without a kernel. Tests play the processes: [`hit`](Fake::hit), [`fork`](Fake::fork),
/// [`execute`](Fake::execute), [`exit`](Fake::exit).
#[derive(Debug)]
pub(crate) struct Fake {
    objects: Vec<Option<Object>>,
    /// Counted processes, and the context that each is in.
    tracked: BTreeMap<u32, u32>,
    news: Vec<ContextNews>,
    /// Marks that are armed.
    pub(crate) marks: Vec<NumberedMark>,
    /// By context, object and slot.
    context_counts: BTreeMap<(u32, u32, u32), u64>,
    /// Contexts whose number was given free.
    pub(crate) released: Vec<u32>,
    losses: KernelLosses,
    /// File offsets that carry no probe.
    pub(crate) refuse: BTreeSet<u64>,
    /// How many objects can be armed at the same time.
    pub(crate) room_for_objects: u32,
    /// How many processes can be counted at the same time.
    pub(crate) room_for_processes: usize,
    /// Whether children of counted processes are counted.
    pub(crate) follow: bool,
}

#[derive(Debug)]
struct Object {
    file: FileKey,
    sites: BTreeMap<u64, Observe>,
    counters: Vec<u64>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            objects: Vec::new(),
            tracked: BTreeMap::new(),
            news: Vec::new(),
            marks: Vec::new(),
            context_counts: BTreeMap::new(),
            released: Vec::new(),
            losses: KernelLosses::default(),
            refuse: BTreeSet::new(),
            room_for_objects: cov_ebpf_common::MAX_OBJECTS,
            room_for_processes: cov_ebpf_common::MAX_TRACKED as usize,
            follow: true,
        }
    }
}

impl Fake {
    /// Process `pid` executes the instruction at `offset` of `file` while its flags register holds
    /// `eflags`.
    pub(crate) fn hit(&mut self, pid: u32, file: &File, offset: u64, eflags: u64) {
        let Some(&context) = self.tracked.get(&pid) else { return };
        let key = key(file).expect("the test's file");
        for (id, object) in (0..).zip(&mut self.objects) {
            let Some(object) = object.as_mut().filter(|object| object.file == key) else { continue };
            let slot = match object.sites.get(&offset) {
                None => continue,
                Some(Observe::Count { slot }) => slot.0,
                Some(Observe::Branch { condition, taken }) => {
                    taken.0 + u32::from(!cov_ebpf_common::holds(condition.0, eflags))
                }
            };
            if context != 0 {
                *self.context_counts.entry((context, id, slot)).or_default() += 1;
                continue;
            }
            match object.counters.get_mut(slot as usize) {
                Some(counter) => *counter = counter.saturating_add(1),
                None => self.losses.hits += 1,
            }
        }
    }

    /// Process `parent` forks `child`.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        let Some(&context) = self.tracked.get(&parent).filter(|_| self.follow) else { return };
        if self.tracked.len() < self.room_for_processes {
            self.tracked.insert(child, context);
        } else {
            self.losses.processes += 1;
        }
    }

    /// Process `pid` executes a program with these arguments, which begins `context`.
    pub(crate) fn execute(&mut self, pid: u32, context: u32, arguments: &[&str]) {
        let text = arguments.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
        let Some(before) = self.tracked.insert(pid, context) else { return };
        let (time, cgroup) = (u64::from(context), 0);
        self.news.push(ContextNews::Executed { context, before, process: pid, time, cgroup, text, whole: true });
    }

    /// Process `pid` ends.
    pub(crate) fn exit(&mut self, pid: u32, status: u32) {
        if let Some(context) = self.tracked.remove(&pid) {
            self.news.push(ContextNews::Ended { context, process: pid, status });
        }
    }
}

impl Kernel for Fake {
    fn attach(&mut self, file: &File, sites: &[Site], slots: u32) -> Result<Armed, ProbeError> {
        if slots >= cov_ebpf_common::MAX_SLOTS {
            return Err(ProbeError::TooManyCounters { slots, limit: cov_ebpf_common::MAX_SLOTS });
        }
        let free = self.objects.iter().position(Option::is_none).unwrap_or(self.objects.len());
        let id = u32::try_from(free).unwrap_or(u32::MAX);
        if id >= self.room_for_objects {
            return Err(ProbeError::TooManyObjects { limit: self.room_for_objects });
        }
        let file = key(file).map_err(|error| ProbeError::of("arming", error))?;
        let mut object = Object { file, sites: BTreeMap::new(), counters: vec![0; slots as usize] };
        let mut refused = Vec::new();
        for (site, Site { offset, observe, .. }) in sites.iter().enumerate() {
            if self.refuse.contains(&offset.0) {
                refused.push(Refused { site, reason: io::ErrorKind::Unsupported.into() });
            } else {
                object.sites.insert(offset.0, *observe);
            }
        }
        match self.objects.get_mut(free) {
            Some(place) => *place = Some(object),
            None => self.objects.push(Some(object)),
        }
        Ok(Armed { id: ArmedId(id), refused })
    }

    fn track(&mut self, pid: u32) -> Result<(), ProbeError> {
        if self.tracked.len() >= self.room_for_processes && !self.tracked.contains_key(&pid) {
            let limit = u32::try_from(self.room_for_processes).unwrap_or(u32::MAX);
            return Err(ProbeError::TooManyProcesses { pid, limit });
        }
        self.tracked.insert(pid, 0);
        Ok(())
    }

    fn tracks(&mut self, pid: u32) -> Result<bool, ProbeError> {
        Ok(self.tracked.contains_key(&pid))
    }

    fn untrack(&mut self, pid: u32) -> Result<(), ProbeError> {
        self.tracked.remove(&pid);
        Ok(())
    }

    fn counters(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        let object = self.objects.get(object.0 as usize).and_then(Option::as_ref);
        object.map(|object| object.counters.clone()).ok_or(ProbeError::NotArmed)
    }

    fn losses(&mut self) -> Result<KernelLosses, ProbeError> {
        Ok(self.losses)
    }

    /// Nothing of it outlives the test.
    fn keep(&mut self, object: ArmedId, _: &Pins, _: &str) -> Result<(), ProbeError> {
        self.counters(object).map(drop)
    }

    fn keep_state(&mut self, _: &Pins) -> Result<(), ProbeError> {
        Ok(())
    }

    fn release(&mut self, object: ArmedId) -> Result<(), ProbeError> {
        let object = self.objects.get_mut(object.0 as usize).and_then(Option::as_mut);
        object.map(|object| object.sites.clear()).ok_or(ProbeError::NotArmed)
    }

    fn detach(&mut self, object: ArmedId) -> Result<Vec<u64>, ProbeError> {
        let object = self.objects.get_mut(object.0 as usize).and_then(Option::take);
        object.map(|object| object.counters).ok_or(ProbeError::NotArmed)
    }

    fn mark(&mut self, object: ArmedId, _: &File, marks: &[NumberedMark]) -> Result<(), ProbeError> {
        self.counters(object)?;
        self.marks.extend(marks.iter().cloned());
        Ok(())
    }

    fn watch_variables(&mut self, _: u32) -> Result<(), ProbeError> {
        Ok(())
    }

    fn news(&mut self) -> Vec<ContextNews> {
        std::mem::take(&mut self.news)
    }

    fn is_over(&mut self, context: u32) -> Result<bool, ProbeError> {
        Ok(!self.tracked.values().any(|one| *one == context))
    }

    fn context_counts(&mut self, wanted: &dyn Fn(ArmedId, u32) -> bool) -> Result<Vec<ContextCount>, ProbeError> {
        let all = self.context_counts.iter();
        let counts = all.map(|(&(context, object, slot), &count)| ContextCount {
            context,
            object: ArmedId(object),
            slot,
            count,
        });
        Ok(counts.filter(|count| wanted(count.object, count.context)).collect())
    }

    fn forget_counts(&mut self, counts: &[ContextCount]) -> Result<(), ProbeError> {
        for count in counts {
            self.context_counts.remove(&(count.context, count.object.0, count.slot));
        }
        Ok(())
    }

    fn release_context(&mut self, context: u32) -> Result<(), ProbeError> {
        self.released.push(context);
        Ok(())
    }
}

fn key(file: &File) -> io::Result<FileKey> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
