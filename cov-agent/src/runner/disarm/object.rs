//! What the thread that disarms knows of an armed object.

use crate::object::FileOffset;
use crate::plan::{Frozen, Observe, ProbePlan, Site, SlotId};
use crate::probe::Links;
use crate::runner::record::slots_of;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An armed object whose probes may go.
pub(super) struct Object {
    pub(super) links: Links,
    /// Those of the plan, then its spare ones.
    sites: Vec<Site>,
    /// For each slot its site.
    site_of: Vec<u32>,
    /// Sites where others are likely to have probes of their own.
    shared: BTreeSet<FileOffset>,
    progress: Mutex<Progress>,
    /// What is known where counters stop before the end.
    pub(super) budgeted: Option<Budgeted>,
}

/// What is known of an object whose counters may stop.
pub(super) struct Budgeted {
    pub(super) plan: ProbePlan,
    pub(super) known: Mutex<Known>,
}

/// How far its counters have stopped.
#[derive(Default)]
pub(super) struct Known {
    /// What is known of hits in each context that goes on; 0 is none.
    by_context: BTreeMap<u32, InContext>,
    /// What had stopped in contexts that are over.
    past: Frozen,
    /// Counters of spare sites that the kernel refused; `None` before these were armed.
    pub(super) spare: Option<BTreeSet<SlotId>>,
    /// Where what has stopped is written down.
    pub(super) journal: Option<PathBuf>,
}

/// What is known of hits in a context.
#[derive(Default)]
pub(super) struct InContext {
    pub(super) frozen: Frozen,
    /// The counters when they were looked at last, by slot.
    pub(super) counters: Vec<u64>,
}

impl Known {
    /// What is known of hits in a context.
    pub(super) fn in_context(&mut self, context: u32) -> &mut InContext {
        self.by_context.entry(context).or_default()
    }

    /// The counters that have stopped in a context.
    pub(super) fn frozen(&self, context: u32) -> Frozen {
        self.by_context.get(&context).map(|known| known.frozen.clone()).unwrap_or_default()
    }

    /// The contexts in which some have.
    pub(super) fn stopped(&self) -> impl Iterator<Item = (u32, &Frozen)> {
        let all = self.by_context.iter().filter(|(context, known)| **context != 0 && !known.frozen.is_empty());
        all.map(|(context, known)| (*context, &known.frozen))
    }

    /// What is known where nothing is known of contexts: what has stopped in any may have in all.
    pub(super) fn anywhere(&self) -> Frozen {
        let mut all = self.frozen(0);
        self.stopped().for_each(|(_, frozen)| all.stop_too(frozen));
        all.stop_too(&self.past);
        all
    }

    /// A context is over: its number is used again.
    pub(super) fn forget(&mut self, context: u32) {
        if let Some(known) = self.by_context.remove(&context) {
            self.past.stop_too(&known.frozen);
        }
    }
}

impl Budgeted {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the work is done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// For each site whether it has done its work.
    done: Vec<bool>,
    /// How many have since the links were replaced.
    pub(super) since: usize,
    /// How many are linked.
    pub(super) linked: usize,
}

impl Object {
    /// `stops`: its counters may stop before the end.
    pub(super) fn new(links: Links, plan: &ProbePlan, shared: BTreeSet<FileOffset>, stops: bool) -> Self {
        let mut site_of = vec![u32::MAX; plan.slots as usize];
        let sites: Vec<Site> = plan.sites.iter().chain(&plan.spare).copied().collect();
        for (index, site) in (0..).zip(&sites) {
            for slot in slots_of(site.observe) {
                if let Some(place) = site_of.get_mut(slot.0 as usize) {
                    *place = index;
                }
            }
        }
        let progress = Progress { done: vec![false; sites.len()], since: 0, linked: plan.sites.len() };
        let budgeted = stops.then(|| Budgeted { plan: plan.clone(), known: Mutex::default() });
        Self { links, sites, site_of, shared, progress: Mutex::new(progress), budgeted }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All sites: those of the plan, then its spare ones.
    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The site that a slot belongs to, and its number.
    pub(super) fn site(&self, slot: SlotId) -> Option<(usize, &Site)> {
        let index = *self.site_of.get(slot.0 as usize)? as usize;
        Some((index, self.sites.get(index)?))
    }

    /// Which of its counters have stopped for hits in a context.
    pub(super) fn frozen(&self, context: u32) -> Frozen {
        self.budgeted.as_ref().map(|budgeted| budgeted.known().frozen(context)).unwrap_or_default()
    }

    /// Which have anywhere.
    pub(super) fn frozen_anywhere(&self) -> Frozen {
        self.budgeted.as_ref().map(|budgeted| budgeted.known().anywhere()).unwrap_or_default()
    }

    /// Whether a site may go from a process: another tool's probe in the same place would go too.
    pub(super) fn may_go(&self, site: &Site) -> bool {
        !self.shared.contains(&site.offset)
    }

    /// Takes note of a hit of a site that is wanted once. Tells whether it has done its work: whether all its counters
    /// have counted.
    pub(super) fn hit(&self, index: usize, site: &Site) -> bool {
        let all = || slots_of(site.observe).all(|slot| self.links.counter(slot).is_some_and(|count| count > 0));
        self.take_note(index, all)
    }

    /// The same in a context, whose counters are elsewhere: that its only counter has counted is told by the hit. Of a jump whose
    /// ways are told apart, which is rare, the other way may be taken yet.
    pub(super) fn hit_in_context(&self, index: usize, site: &Site) -> bool {
        let alone = matches!(site.observe, Observe::Count { .. });
        alone && self.take_note(index, || true)
    }

    fn take_note(&self, index: usize, is_done: impl FnOnce() -> bool) -> bool {
        let mut progress = self.progress();
        let Progress { done, since, .. } = &mut *progress;
        let Some(done) = done.get_mut(index) else { return false };
        if !*done && is_done() {
            *done = true;
            *since += 1;
        }
        *done
    }

    /// How many sites have done their work.
    pub(super) fn done(&self) -> usize {
        self.progress().done.iter().filter(|done| **done).count()
    }

    /// Links only the sites that have not done their work. What was linked comes back.
    pub(super) fn relink(&self) -> Result<crate::probe::Old, crate::probe::ProbeError> {
        let left: Vec<Site> = {
            let mut progress = self.progress();
            let Progress { done, since, linked } = &mut *progress;
            let left = self.sites.iter().zip(&*done).filter(|(_, done)| !**done);
            let left: Vec<Site> = left.map(|(site, _)| *site).collect();
            (*since, *linked) = (0, left.len());
            left
        };
        self.links.replace(&left, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectId;
    use crate::plan::Aim;

    #[test]
    fn what_has_stopped_is_known_by_context_until_its_number_is_used_again() {
        let object = ObjectId::BuildId(vec![1]);
        let (aim, files, sites, spare, lines) = (Aim::Counts, vec![], vec![], vec![], vec![]);
        let (slots, functions, ways, unmeasurable) = (9, vec![], vec![], vec![]);
        let plan = ProbePlan { object, aim, files, sites, spare, slots, lines, functions, ways, unmeasurable };
        let mut known = Known::default();
        for (context, slot) in [(0, 1), (4, 2), (7, 3), (4, 5)] {
            let slots = BTreeSet::from([SlotId(slot)]);
            known.in_context(context).frozen.freeze(&plan, &slots, &[], &[], 2);
        }
        let has = |frozen: &Frozen| (0..9).filter(|&slot| frozen.has(SlotId(slot))).collect::<Vec<u32>>();
        let stopped =
            |known: &Known| known.stopped().map(|(context, frozen)| (context, has(frozen))).collect::<Vec<_>>();
        assert_eq!(stopped(&known), [(4, vec![2, 5]), (7, vec![3])]);
        assert_eq!((has(&known.frozen(0)), has(&known.frozen(3))), (vec![1], vec![]));
        known.in_context(4).counters.push(8);
        known.forget(4);
        assert_eq!(stopped(&known), [(7, vec![3])]);
        assert!(known.in_context(4).frozen.is_empty() && known.in_context(4).counters.is_empty());
        assert_eq!(has(&known.anywhere()), [1, 2, 3, 5], "what is over may have lower bounds");
    }
}
