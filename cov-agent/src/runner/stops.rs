//! Where threads stopped for good amid code: what is worked out of counters holds then too.

use super::{ArmedObject, CoverageTestRunner};
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
    /// would be without.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn see_where_threads_stopped(&mut self, again: &Again<'_>) -> Result<(), ProbeError> {
        let all = self.kernel.stops()?;
        for object in &mut self.armed {
            if let Err(why) = object.see(&all, again) {
                let detail = format!("{}: signals ended threads in it; {why}", object.measured.path.display());
                self.collector.losses_mut().add_detail(LossKind::InconsistentCounts, detail);
            }
        }
        Ok(())
    }
}

impl ArmedObject {
    /// What was counted since it was recorded.
    pub(super) fn untold(&self, counters: &[u64]) -> Vec<u64> {
        let told = self.told.iter().chain(std::iter::repeat(&0));
        let own = counters.iter().zip(told).map(|(now, then)| now.saturating_sub(*then));
        own.chain(self.stopped.iter().copied()).collect()
    }

    /// What was counted since the beginning.
    pub(super) fn all(&self, counters: &[u64]) -> Vec<u64> {
        counters.iter().chain(&self.stopped).copied().collect()
    }

    fn see(&mut self, all: &[StoppedThreads], again: &Again<'_>) -> Result<(), String> {
        let plan = &self.measured.plan;
        let (ObjectId::BuildId(id), Aim::Counts) = (&plan.object, plan.aim) else { return Ok(()) };
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
            return Ok(());
        }
        let mut why = "it is not what it was".to_owned();
        for scope in [Scope::Whole, Scope::Part] {
            match again(&self.measured.path, scope, &threads) {
                Ok(new) if new.object == plan.object && new.sites == plan.sites => {
                    self.measured.plan = new;
                    self.stopped = counts;
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}
