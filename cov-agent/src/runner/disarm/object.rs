//! What the thread that disarms knows of an armed object.

use crate::object::FileOffset;
use crate::plan::{Frozen, ProbePlan, Site, SlotId};
use crate::probe::Links;
use crate::runner::record::slots_of;
use std::collections::BTreeSet;
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
    pub(super) frozen: Frozen,
    /// The hits of the plan's sites when they were looked at last.
    pub(super) looked: Vec<u64>,
    /// Counters of spare sites that the kernel refused; `None` before these were armed.
    pub(super) spare: Option<BTreeSet<SlotId>>,
    /// Where what has stopped is written down.
    pub(super) journal: Option<PathBuf>,
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

    /// Which of its counters have stopped.
    pub(super) fn frozen(&self) -> Frozen {
        self.budgeted.as_ref().map(|budgeted| budgeted.known().frozen.clone()).unwrap_or_default()
    }

    /// Whether a site may go from a process: another tool's probe in the same place would go too.
    pub(super) fn may_go(&self, site: &Site) -> bool {
        !self.shared.contains(&site.offset)
    }

    /// Takes note of a hit of a site that is wanted once. Tells whether it has done its work: whether all its counters
    /// have counted.
    pub(super) fn hit(&self, index: usize, site: &Site) -> bool {
        let mut progress = self.progress();
        let Progress { done, since, .. } = &mut *progress;
        let Some(done) = done.get_mut(index) else { return false };
        if !*done && slots_of(site.observe).all(|slot| self.links.counter(slot).is_some_and(|count| count > 0)) {
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
