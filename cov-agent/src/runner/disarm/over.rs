//! A process has spent more on hits than it may: sites go from it, the hottest first.

use super::Answers;
use super::object::{Known, Object};
use crate::plan::{SlotId, needed};
use crate::probe::{ArmedId, Asked, Requests};
use crate::process::{Foreign, cpu_time, threads};
use crate::runner::journal;
use crate::runner::record::slots_of;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// In how many ways a thread may be amid the same code: in it, and in a signal's handler that came then.
const AMID: u64 = 2;

impl Answers {
    /// Looks at a process that asks.
    pub(super) fn over(&mut self, asked: &Asked) {
        let Some(ledger) = &mut self.ledger else { return };
        // Who has ended asks no more.
        let spent = |requests: &Requests| Some((cpu_time(asked.pid).ok()?, requests.spent(asked.pid).ok()?));
        let Some((cpu, hits)) =
            spent(&self.requests).filter(|(_, hits)| !asked.once || ledger.is_due(asked.pid, *hits))
        else {
            return;
        };
        let mut verdict = ledger.look(asked.pid, cpu, hits);
        if let Some(keep) = verdict.keep {
            self.lighten(asked, keep);
            // What was spent until now says nothing of what is left.
            self.shared.all().iter().for_each(|(_, object)| drop(hits_since(object)));
            if let (Some((cpu, hits)), Some(ledger)) = (spent(&self.requests), &mut self.ledger) {
                verdict = ledger.look(asked.pid, cpu, hits);
            }
        }
        // Where that fails, the process is no more, or asks no more: its counts stay exact.
        let _ = self.requests.allow(asked.pid, verdict.next);
    }

    /// Takes sites out of a process, so that only the part `keep` of what they cost is left.
    fn lighten(&mut self, asked: &Asked, keep: f64) {
        let pid = asked.pid;
        if self.rests(pid) {
            return;
        }
        match Foreign::open(pid).and_then(|process| process.is_free()) {
            Ok(()) => self.resting.remove(&pid),
            Err(_) => self.resting.insert(pid, Instant::now()),
        };
        if self.rests(pid) {
            return;
        }
        let objects = self.shared.all();
        let mut chosen: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        if let Some(ledger) = &self.ledger {
            let hits = objects.iter().enumerate().map(|(n, (_, object))| (n, &**object, hits_since(object)));
            for (n, index) in ledger.hottest(hits, keep) {
                chosen.entry(n).or_default().insert(index);
            }
        }
        let own = objects.iter().position(|(id, _)| *id == asked.object);
        let site = own.and_then(|n| Some((n, objects.get(n)?.1.site(asked.slot)?.0)));
        if let Some((n, index)) = site.filter(|_| chosen.is_empty() && !asked.once) {
            chosen.entry(n).or_default().insert(index);
        }
        // What has stopped in another process costs nothing more to be without.
        let all = self.lightened.insert(pid) || site.is_some_and(|(n, index)| has_stopped(&objects, n, index));
        for (n, (_, object)) in objects.iter().enumerate() {
            let mut gone = self.stop(object, chosen.remove(&n).unwrap_or_default());
            if all {
                gone.extend(stopped(object));
            }
            let offsets: Vec<u64> =
                gone.iter().filter_map(|&index| object.sites().get(index)).map(|site| site.offset.0).collect();
            if !offsets.is_empty() {
                self.remove_at(pid, object, &offsets);
            }
        }
    }

    /// Takes note that sites are about to stop counting in some processes. Gives those that may: those of the others are
    /// still needed.
    fn stop(&self, object: &Object, mut sites: BTreeSet<usize>) -> BTreeSet<usize> {
        let Some(budgeted) = object.budgeted.as_ref().filter(|_| !sites.is_empty()) else { return BTreeSet::new() };
        let (plan, mut known) = (&budgeted.plan, budgeted.known());
        let slots = |index: &usize| object.sites().get(*index).into_iter().flat_map(|site| slots_of(site.observe));
        let mut still = needed(plan, &object.links.counters(), known.spare.as_ref());
        if known.spare.is_none() && sites.iter().flat_map(slots).any(|slot| still.contains(&slot)) {
            let Some(refused) = self.arm_spare(object) else { return BTreeSet::new() };
            known.spare = Some(refused);
            still = needed(plan, &object.links.counters(), known.spare.as_ref());
        }
        sites.retain(|index| !slots(index).any(|slot| still.contains(&slot)));
        let stopping: BTreeSet<SlotId> = sites.iter().flat_map(slots).filter(|slot| !known.frozen.has(*slot)).collect();
        if stopping.is_empty() {
            return sites;
        }
        let walks = || self.requests.counted().unwrap_or_default().into_iter().map(threads).sum::<u64>() * AMID;
        let before = walks();
        let (first, second) = (object.links.counters(), object.links.counters());
        let Known { frozen, journal, .. } = &mut *known;
        frozen.freeze(plan, &stopping, &first, &second, before.max(walks()).max(AMID));
        // Before anything stops: otherwise a killed agent's counts would be taken for exact.
        match journal.as_ref().map(|path| journal::write_frozen(path, frozen)) {
            Some(Err(_)) => BTreeSet::new(),
            _ => sites,
        }
    }

    /// Arms the spare sites of an object. Gives the counters of those that the kernel refuses; `None` if it arms nothing.
    fn arm_spare(&self, object: &Object) -> Option<BTreeSet<SlotId>> {
        let spare = &object.budgeted.as_ref()?.plan.spare;
        if spare.is_empty() {
            return Some(BTreeSet::new());
        }
        let refused = object.links.add(spare, true).ok()?;
        // Without another process that holds them too, this one disarms itself when it ends.
        let _ = self.lingering.add(Vec::new());
        let of = |refused: &crate::probe::Refused| spare.get(refused.site).map(|site| slots_of(site.observe));
        Some(refused.iter().filter_map(of).flatten().collect())
    }
}

/// How often each site of the plan was hit since the last call.
fn hits_since(object: &Object) -> Vec<u64> {
    let Some(budgeted) = &object.budgeted else { return Vec::new() };
    let counters = object.links.counters();
    let hits = |slot: SlotId| counters.get(slot.0 as usize).copied().unwrap_or(0);
    let sites = budgeted.plan.sites.iter();
    let now: Vec<u64> = sites.map(|site| slots_of(site.observe).map(hits).fold(0, u64::saturating_add)).collect();
    let then = std::mem::replace(&mut budgeted.known().looked, now.clone());
    let then = then.into_iter().chain(std::iter::repeat(0));
    now.into_iter().zip(then).map(|(now, then)| now.saturating_sub(then)).collect()
}

/// The sites that have stopped in some process.
fn stopped(object: &Object) -> Vec<usize> {
    let Some(budgeted) = &object.budgeted else { return Vec::new() };
    let known = budgeted.known();
    let sites = budgeted.plan.sites.iter().enumerate();
    sites
        .filter(|(_, site)| slots_of(site.observe).any(|slot| known.frozen.has(slot)))
        .map(|(index, _)| index)
        .collect()
}

fn has_stopped(objects: &[(ArmedId, Arc<Object>)], n: usize, index: usize) -> bool {
    objects.get(n).is_some_and(|(_, object)| stopped(object).binary_search(&index).is_ok())
}
