//! Where threads stopped for good amid code: what is worked out of counters holds then too.

use super::{ArmedObject, CoverageTestRunner, Measured};
use crate::coverage::LossKind;
use crate::object::{FileOffset, ObjectId};
use crate::plan::{Aim, ProbePlan, Scope, Stopped};
use crate::probe::{Kernel, Place, ProbeError, StoppedThreads};
use std::path::Path;

/// Plans the object at a path again, for that scope, with formulas that hold where threads stopped; or says why not.
pub type Again<'a> = dyn Fn(&Path, Scope, &[Stopped]) -> Result<ProbePlan, String> + 'a;

impl<K: Kernel> CoverageTestRunner<K> {
    /// Takes into account where signals ended threads, before results are collected.
    ///
    /// Only objects with a GNU build-id are told apart in the kernel. An object that threads stopped in is planned `again`:
    /// that is rare, and spares plans what would be of no use else. If that fails it is told, and the counts are as they
    /// would be without. Copies of such an object are counted as one from then on: nobody knows in which a thread stopped.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn see_where_threads_stopped(&mut self, again: &Again<'_>) -> Result<(), ProbeError> {
        let all = self.kernel.stops()?;
        let (mut seen, mut others): (Vec<ArmedObject>, Vec<_>) = (Vec::new(), Vec::new());
        for mut object in std::mem::take(&mut self.armed) {
            let is_copy = seen.iter().any(|first| first.is_of(&object));
            match if is_copy { Ok(false) } else { object.see(&all, again) } {
                Ok(true) => seen.push(object),
                Ok(false) => others.push((object, None)),
                Err(why) => others.push((object, Some(why))),
            }
        }
        let mut outcome = Ok(());
        for (object, why) in others {
            let error = match seen.iter_mut().find(|first| first.is_of(&object)) {
                Some(first) => match self.kernel.counters(object.id) {
                    Ok(counters) => {
                        self.hits.add(&object.measured.plan, &counters, &[]);
                        let Measured { plan, path, .. } = &object.measured;
                        self.collector.object(plan.object.to_string(), path.display().to_string());
                        first.add(&object, &counters);
                        continue;
                    }
                    Err(error) => Some(error),
                },
                None => None,
            };
            outcome = outcome.and(error.map_or(Ok(()), Err));
            if let Some(why) = why {
                let detail = format!("{}: signals ended threads in it; {why}", object.measured.path.display());
                self.collector.losses_mut().add_detail(LossKind::InconsistentCounts, detail);
            }
            self.armed.push(object);
        }
        self.armed.append(&mut seen);
        outcome
    }
}

impl ArmedObject {
    /// What was counted since it was recorded.
    pub(super) fn untold(&self, counters: &[u64]) -> Vec<u64> {
        let told = self.told.iter().chain(std::iter::repeat(&0));
        let own = counters.iter().zip(told).map(|(now, then)| now.saturating_sub(*then));
        self.with_others(own)
    }

    /// What was counted since the beginning.
    pub(super) fn all(&self, counters: &[u64]) -> Vec<u64> {
        self.with_others(counters.iter().copied())
    }

    fn with_others(&self, own: impl Iterator<Item = u64>) -> Vec<u64> {
        let copies = self.copies.iter().chain(std::iter::repeat(&0));
        let counters = own.zip(copies).map(|(own, copies)| own.saturating_add(*copies));
        counters.chain(self.stopped.iter().copied()).collect()
    }

    /// Whether it is a copy of `other`.
    fn is_of(&self, other: &Self) -> bool {
        let (own, other) = (&self.measured.plan, &other.measured.plan);
        own.object == other.object && own.sites == other.sites
    }

    /// Counts what a copy of it counted, too.
    fn add(&mut self, copy: &Self, counters: &[u64]) {
        let Measured { dead, frozen, .. } = &copy.measured;
        self.measured.dead.extend(dead);
        self.measured.frozen.stop_too(frozen);
        self.copies.resize(counters.len(), 0);
        self.copies.iter_mut().zip(counters).for_each(|(sum, counter)| *sum = sum.saturating_add(*counter));
    }

    /// Whether threads stopped in it, as far as its formulas can tell.
    fn see(&mut self, all: &[StoppedThreads], again: &Again<'_>) -> Result<bool, String> {
        let plan = &self.measured.plan;
        let (ObjectId::BuildId(id), Aim::Counts) = (&plan.object, plan.aim) else { return Ok(false) };
        let here = |frame: &Place| frame.is_in(id).then_some(frame.offset);
        let (threads, counts): (Vec<Stopped>, Vec<u64>) = all
            .iter()
            .map(|stopped| {
                let frames: Vec<Option<FileOffset>> = stopped.frames.iter().map(here).collect();
                let top = stopped.top.iter().filter_map(here).collect();
                (Stopped { frames, top, fault: stopped.fault }, stopped.threads)
            })
            // What called from elsewhere need not come back.
            .filter(|(stopped, _)| stopped.frames.iter().take(2).any(Option::is_some))
            .unzip();
        if threads.is_empty() {
            return Ok(false);
        }
        let mut why = "it is not what it was".to_owned();
        for scope in [Scope::Whole, Scope::Part] {
            match again(&self.measured.path, scope, &threads) {
                Ok(new) if new.object == plan.object && new.sites == plan.sites => {
                    self.measured.plan = new;
                    self.stopped = counts;
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}
