//! The contexts of a measurement: their names, and the counts of those that are over.

use super::Prepared;
use super::context_log::{ContextLog, UNNAMED};
use super::disarm::InContexts;
use super::naming::{Naming, test_named};
use super::record::ContextHits;
use crate::coverage::{CoverageCollector, LossKind};
use crate::plan::Frozen;
use crate::probe::{ArmedId, ContextCount, ContextNews, Kernel, NumberedMark, ProbeError};
use crate::process::Ending;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

/// How many contexts may be over before their counters are taken from the kernel.
const EVICT: usize = 64;

/// How many programs are remembered that were executed.
const PROGRAMS: usize = 1 << 16;

/// An index into the names.
type Name = u32;

/// What is known of the contexts.
pub(super) struct Contexts {
    naming: Naming,
    /// How many names are told apart.
    limit: usize,
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, Name>,
    /// The contexts that have begun and are not known to be over, by number.
    alive: BTreeMap<u32, Name>,
    /// Of these, in how many a process has ended since the last eviction.
    ended: usize,
    /// Counts that were taken from the kernel, by object and name, then by counter.
    counts: BTreeMap<(ArmedId, Name), BTreeMap<u32, u64>>,
    /// What of the counters that are in the kernel still was kept already, by context, object and counter.
    told: HashMap<(u32, ArmedId, u32), u64>,
    /// Who knows which counters have stopped in contexts that are in the kernel still.
    stops: Option<InContexts>,
    /// Which have, as far as it is known here, by object and name.
    frozen: BTreeMap<(ArmedId, Name), Frozen>,
    /// How what a context stands for ended, where that was no success.
    endings: BTreeMap<Name, Ending>,
    /// Where they are written down, so that they outlive this process.
    log: Option<ContextLog>,
    /// Why they are so no more.
    unlogged: Option<io::Error>,
    /// How many contexts found no room for their names.
    merged: u64,
    /// Programs that were executed, the last ones: process, time and context.
    programs: VecDeque<(u32, u64, Name)>,
}

impl Contexts {
    /// No context so far. At most `limit` names are told apart.
    pub(super) fn new(naming: Naming, limit: usize) -> Self {
        let none: Arc<str> = "".into();
        Self {
            naming,
            limit,
            names: vec![Arc::clone(&none)],
            by_name: HashMap::from([(none, 0)]),
            alive: BTreeMap::new(),
            ended: 0,
            counts: BTreeMap::new(),
            told: HashMap::new(),
            stops: None,
            frozen: BTreeMap::new(),
            endings: BTreeMap::new(),
            log: None,
            unlogged: None,
            merged: 0,
            programs: VecDeque::new(),
        }
    }

    /// The marks of an object that are to be armed.
    pub(super) fn marks_of(&mut self, prepared: &Prepared) -> Vec<NumberedMark> {
        self.naming.marks_of(prepared)
    }

    /// Asks `stops`, from now on, which counters have stopped.
    pub(super) fn ask_for_stops(&mut self, stops: InContexts) {
        self.stops = Some(stops);
    }

    /// Takes note of the counters that have stopped. Whoever has read counts does this behind it: before a counter stops,
    /// that is known.
    pub(super) fn note_stops(&mut self) {
        let Some(stops) = self.stops.take() else { return };
        stops.each(|context, object, frozen| {
            let name = self.name_of(context);
            self.frozen.entry((object, name)).or_default().stop_too(frozen);
        });
        self.stops = Some(stops);
    }

    /// Adds the counters of an object that have stopped in any context.
    pub(super) fn add_stops(&self, object: ArmedId, all: &mut Frozen) {
        self.frozen.range((object, 0)..=(object, Name::MAX)).for_each(|(_, frozen)| all.stop_too(frozen));
    }

    /// Takes note of what is new, and of what is over.
    pub(super) fn update(&mut self, kernel: &mut impl Kernel) -> Result<(), ProbeError> {
        for news in kernel.news() {
            self.take_note(kernel, &news)?;
        }
        if self.ended >= EVICT { self.evict(kernel) } else { Ok(()) }
    }

    fn take_note(&mut self, kernel: &mut impl Kernel, news: &ContextNews) -> Result<(), ProbeError> {
        self.hear(news);
        match news {
            ContextNews::Executed { process, .. } if self.naming.may_set_variables(news) => {
                kernel.watch_variables(*process)
            }
            _ => Ok(()),
        }
    }

    /// Counts a process that runs already.
    pub(super) fn track_running(&mut self, kernel: &mut impl Kernel, process: u32) -> Result<(), ProbeError> {
        let news = kernel.track_running(process)?;
        news.map_or(Ok(()), |news| self.take_note(kernel, &news))
    }

    /// Takes the counts of all contexts; those that are not over go on.
    pub(super) fn progress(&mut self, kernel: &mut impl Kernel) -> Result<(), ProbeError> {
        self.update(kernel)?;
        self.evict(kernel)?;
        for count in kernel.context_counts(&|_, _| true)? {
            self.keep(&count);
            self.told.insert((count.context, count.object, count.slot), count.count);
        }
        self.note_stops();
        Ok(())
    }

    fn hear(&mut self, news: &ContextNews) {
        match news {
            ContextNews::Executed { context, before, process, time, .. } => {
                let name = match self.naming.executed(news) {
                    Some(name) => self.name(&name),
                    // What a test starts belongs to the test.
                    None => self.alive.get(before).copied().unwrap_or(0),
                };
                self.begin(*context, name);
                if self.programs.len() == PROGRAMS {
                    self.programs.pop_front();
                }
                self.programs.push_back((*process, *time, name));
                self.ended += 1;
            }
            ContextNews::Entered { context, around, .. } => {
                let name = match self.naming.entered(news) {
                    Some(name) => self.name(&name),
                    None => self.alive.get(around).copied().unwrap_or(0),
                };
                self.begin(*context, name);
                self.ended += 1;
            }
            ContextNews::Ended { context, status, .. } | ContextNews::Cut { context, status, .. } => {
                let ending = Ending::of_status(*status);
                if let Some(name) = self.alive.get(context).filter(|_| ending != Ending::Exited(0)) {
                    // A signal says more than what came of it.
                    let known = self.endings.entry(*name).or_insert(ending);
                    *known = (*known).max(ending);
                }
            }
        }
    }

    /// The name of the context of the program that the process `process` executed last at `time`, in nanoseconds since
    /// the machine started.
    pub(super) fn of_program(&self, process: u32, time: u64) -> Option<&str> {
        let last = self.programs.iter().rev().find(|(one, begun, _)| *one == process && *begun <= time);
        last.and_then(|(.., name)| self.names.get(*name as usize)).map(|name| &**name)
    }

    /// The name of the context of a test, which has none of its own where too many are told apart.
    pub(super) fn of_test(&mut self, value: &[u8]) -> String {
        let name = self.name(&test_named(value));
        self.names.get(name as usize).map(|name| (**name).to_owned()).unwrap_or_default()
    }

    fn begin(&mut self, context: u32, name: Name) {
        self.alive.insert(context, name);
        let text = self.names.get(name as usize).cloned().unwrap_or_default();
        self.write_down(|log| log.begun(context, &text));
    }

    /// Writes down from now on, in `log`, what would die with this process.
    pub(super) fn outlive(&mut self, log: ContextLog) {
        self.log = Some(log);
    }

    /// What the journal calls the object. An error if contexts are written down no more.
    pub(super) fn journaled(&mut self, object: ArmedId, name: u32) -> io::Result<()> {
        self.write_down(|log| log.armed(object, name));
        self.unlogged.take().map_or(Ok(()), Err)
    }

    fn write_down(&mut self, write: impl FnOnce(&mut ContextLog) -> io::Result<()>) {
        let Some(mut log) = self.log.take() else { return };
        match write(&mut log) {
            Ok(()) => self.log = Some(log),
            Err(error) => {
                self.unlogged = Some(error);
                log.give_up();
            }
        }
    }

    fn name(&mut self, name: &str) -> Name {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        if self.names.len() > self.limit {
            self.merged += 1;
            return 0;
        }
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.by_name.insert(name, index);
        index
    }

    /// Takes the counters of contexts that are over, so that their room and numbers can be used again.
    fn evict(&mut self, kernel: &mut impl Kernel) -> Result<(), ProbeError> {
        self.ended = 0;
        let mut over = BTreeSet::new();
        for &context in self.alive.keys() {
            if kernel.is_over(context)? {
                over.insert(context);
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        let counts = kernel.context_counts(&|_, context| over.contains(&context))?;
        self.move_here(kernel, &counts, &over)?;
        self.note_stops();
        self.stops.iter().for_each(|stops| stops.forget(&over));
        for context in over {
            self.alive.remove(&context);
            kernel.release_context(context)?;
        }
        Ok(())
    }

    fn name_of(&mut self, context: u32) -> Name {
        match self.alive.get(&context) {
            Some(name) => *name,
            None => self.name(UNNAMED),
        }
    }

    fn keep(&mut self, count: &ContextCount) {
        let name = self.name_of(count.context);
        let told = self.told.get(&(count.context, count.object, count.slot)).copied().unwrap_or(0);
        let kept = self.counts.entry((count.object, name)).or_default().entry(count.slot).or_default();
        *kept = kept.saturating_add(count.count.saturating_sub(told));
    }

    /// Keeps counts, and forgets them in the kernel: nobody adds to them any more. The contexts `over` have no others.
    fn move_here(
        &mut self,
        kernel: &mut impl Kernel,
        counts: &[ContextCount],
        over: &BTreeSet<u32>,
    ) -> Result<(), ProbeError> {
        self.write_down(|log| log.moved(counts));
        for count in counts {
            self.keep(count);
            self.told.remove(&(count.context, count.object, count.slot));
        }
        kernel.forget_counts(counts)?;
        self.write_down(|log| log.forgotten(over.iter().copied()));
        Ok(())
    }

    /// The counts of an object that is disarmed, by context's name. They are forgotten here.
    pub(super) fn take_object(
        &mut self,
        kernel: &mut impl Kernel,
        object: ArmedId,
    ) -> Result<Vec<ContextHits>, ProbeError> {
        self.update(kernel)?;
        let counts = kernel.context_counts(&|one, _| one == object)?;
        self.move_here(kernel, &counts, &BTreeSet::new())?;
        let hits = self.take(object);
        // Another object may get its number.
        self.frozen.retain(|(one, _), _| *one != object);
        Ok(hits)
    }

    /// Reads what is left in the kernel. Nothing is counted any more after that.
    pub(super) fn finish(&mut self, kernel: &mut impl Kernel) -> Result<(), ProbeError> {
        for news in kernel.news() {
            self.hear(&news);
        }
        kernel.context_counts(&|_, _| true)?.iter().for_each(|count| self.keep(count));
        self.note_stops();
        Ok(())
    }

    /// The counts of an object by context's name. They are forgotten here.
    pub(super) fn take(&mut self, object: ArmedId) -> Vec<ContextHits> {
        let taken = self.counts.extract_if((object, 0)..=(object, Name::MAX), |_, _| true);
        let named = taken.map(|((_, name), hits)| ContextHits {
            name: self.names.get(name as usize).cloned().unwrap_or_default(),
            hits,
            frozen: self.frozen.get(&(object, name)).cloned().unwrap_or_default(),
        });
        named.collect()
    }

    /// How what the contexts stand for ended, where that was no success, by name.
    pub(super) fn endings(&self) -> impl Iterator<Item = (&str, Ending)> {
        let named = |(name, ending): (&Name, &Ending)| Some((&**self.names.get(*name as usize)?, *ending));
        self.endings.iter().filter_map(named)
    }

    /// Says what could not be told apart.
    pub(super) fn lose(&self, collector: &CoverageCollector) {
        if self.merged > 0 {
            let mut losses = collector.losses_mut();
            losses.add(LossKind::MergedContexts, self.merged);
            losses.describe(LossKind::MergedContexts, format!("more than max_contexts = {}", self.limit));
        }
    }
}
