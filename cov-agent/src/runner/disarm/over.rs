//! A process has spent more on hits than it may: sites go from it, the hottest first.

use super::Answers;
use super::object::{Budgeted, InContext, Known, Object};
use crate::plan::{Site, SlotId, needed};
use crate::probe::{ArmedId, Asked, Requests};
use crate::process::{Foreign, cpu_time, threads};
use crate::runner::journal;
use crate::runner::record::slots_of;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// In how many ways a thread may be amid the same code: in it, and in a signal's handler that came then.
const AMID: u64 = 2;

/// What a process spends until it asks again that cannot be answered yet.
const AGAIN: Duration = Duration::from_micros(500);

impl Answers {
    /// Looks at a process that asks.
    pub(super) fn over(&mut self, asked: &Asked) {
        let Some(ledger) = &self.ledger else { return };
        // Who has ended asks no more.
        let spent = |requests: &Requests| Some((cpu_time(asked.pid).ok()?, requests.spent(asked.pid).ok()?));
        let Some((cpu, hits)) =
            spent(&self.requests).filter(|(_, hits)| !asked.once || ledger.is_due(asked.pid, *hits))
        else {
            return;
        };
        if !self.rests(asked.pid) && !self.holds(asked) {
            // As below.
            let _ = self.requests.allow(asked.pid, hits + AGAIN);
            return;
        }
        let Some(ledger) = &mut self.ledger else { return };
        let mut verdict = ledger.look(asked.pid, cpu, hits);
        if let Some(keep) = verdict.keep {
            self.lighten(asked, keep);
            // What was spent until now says nothing of what is left.
            if asked.context == 0 {
                self.shared.all().iter().for_each(|(id, object)| drop(self.hits_since(0, *id, object)));
            }
            if let (Some((cpu, hits)), Some(ledger)) = (spent(&self.requests), &mut self.ledger) {
                verdict = ledger.look(asked.pid, cpu, hits);
            }
        }
        // Where that fails, the process is no more, or asks no more: its counts stay exact.
        let _ = self.requests.allow(asked.pid, verdict.next);
    }

    /// Takes sites out of a process, so that only the part `keep` of what they cost is left.
    fn lighten(&mut self, asked: &Asked, keep: f64) {
        let Asked { pid, context, .. } = *asked;
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
            let hits = |id, object| self.hits_since(context, id, object);
            let hits = objects.iter().enumerate().map(|(n, (id, object))| (n, &**object, hits(*id, object)));
            for (n, index) in ledger.hottest(hits, keep) {
                chosen.entry(n).or_default().insert(index);
            }
        }
        let own = objects.iter().position(|(id, _)| *id == asked.object);
        let site = own.and_then(|n| Some((n, objects.get(n)?.1.site(asked.slot)?.0)));
        if let Some((n, index)) = site.filter(|_| chosen.is_empty() && !asked.once) {
            chosen.entry(n).or_default().insert(index);
        }
        // What has stopped in another process of the context costs nothing more to be without.
        let has_stopped = |n: usize, index| {
            objects.get(n).is_some_and(|(_, object)| stopped(object, context).binary_search(&index).is_ok())
        };
        let first = self.lightened.insert(pid, context) != Some(context);
        let all = first || site.is_some_and(|(n, index)| has_stopped(n, index));
        for (n, (id, object)) in objects.iter().enumerate() {
            let mut gone = self.stop(context, object, chosen.remove(&n).unwrap_or_default());
            if all {
                gone.extend(stopped(object, context));
            }
            let offsets: Vec<u64> =
                gone.iter().filter_map(|&index| object.sites().get(index)).map(|site| site.offset.0).collect();
            if !offsets.is_empty() {
                self.remove_at((pid, context), object, &offsets);
                self.look_again(context, *id, object, &gone);
            }
        }
    }

    /// Takes note that sites are about to stop counting in some processes of a context. Gives those that may: those of the
    /// others are still needed there.
    fn stop(&self, context: u32, object: &Object, mut sites: BTreeSet<usize>) -> BTreeSet<usize> {
        let Some(budgeted) = object.budgeted.as_ref().filter(|_| !sites.is_empty()) else { return BTreeSet::new() };
        let (plan, mut known) = (&budgeted.plan, budgeted.known());
        // Those of a context were read just now, each by a call of the kernel; they only grow.
        let looked = known.in_context(context).counters.clone();
        let counters = || if context == 0 { object.links.counters() } else { looked.clone() };
        let slots = |index: &usize| object.sites().get(*index).into_iter().flat_map(|site| slots_of(site.observe));
        let mut still = needed(plan, &counters(), known.spare.as_ref());
        if known.spare.is_none() && sites.iter().flat_map(slots).any(|slot| still.contains(&slot)) {
            let Some(refused) = self.arm_spare(object) else { return BTreeSet::new() };
            known.spare = Some(refused);
            still = needed(plan, &counters(), known.spare.as_ref());
        }
        sites.retain(|index| !slots(index).any(|slot| still.contains(&slot)));
        let Known { journal, .. } = &*known;
        let journal = journal.clone();
        let InContext { frozen, .. } = known.in_context(context);
        let stopping: BTreeSet<SlotId> = sites.iter().flat_map(slots).filter(|slot| !frozen.has(*slot)).collect();
        if stopping.is_empty() {
            return sites;
        }
        if context == 0 {
            let walks = || self.requests.counted().unwrap_or_default().into_iter().map(threads).sum::<u64>() * AMID;
            let before = walks();
            let (first, second) = (counters(), counters());
            frozen.freeze(plan, &stopping, &first, &second, before.max(walks()).max(AMID));
        } else {
            // Several contexts may have one name: of what is subtracted in a part of that nothing is known.
            frozen.freeze(plan, &stopping, &[], &[], AMID);
        }
        // Before anything stops: otherwise a killed agent's counts would be taken for exact.
        match journal.map(|path| journal::write_frozen(&path, &known.anywhere())) {
            Some(Err(_)) => BTreeSet::new(),
            _ => sites,
        }
    }

    /// The counters of an object for hits in a context; none where they cannot be read, and so nothing is known to have run.
    fn counters(&self, context: u32, id: ArmedId, object: &Object) -> Vec<u64> {
        match (context, &object.budgeted) {
            (0, _) => object.links.counters(),
            (_, Some(Budgeted { plan, .. })) => {
                self.requests.in_context(context, id, 0..plan.slots).unwrap_or_default()
            }
            (_, None) => Vec::new(),
        }
    }

    /// How often each site of the plan was hit in a context since the last call.
    fn hits_since(&self, context: u32, id: ArmedId, object: &Object) -> Vec<u64> {
        let Some(budgeted) = &object.budgeted else { return Vec::new() };
        let now = self.counters(context, id, object);
        let then = std::mem::replace(&mut budgeted.known().in_context(context).counters, now.clone());
        let hits = |counters: &[u64], site: &Site| {
            let of = |slot: SlotId| counters.get(slot.0 as usize).copied().unwrap_or(0);
            slots_of(site.observe).map(of).fold(0, u64::saturating_add)
        };
        let sites = budgeted.plan.sites.iter();
        sites.map(|site| hits(&now, site).saturating_sub(hits(&then, site))).collect()
    }

    /// Forgets what sites were hit in a context until now that have gone from a process.
    fn look_again(&self, context: u32, id: ArmedId, object: &Object, gone: &BTreeSet<usize>) {
        let Some(budgeted) = object.budgeted.as_ref().filter(|_| context != 0) else { return };
        let slots: Vec<u32> = gone
            .iter()
            .filter_map(|&index| object.sites().get(index))
            .flat_map(|site| slots_of(site.observe))
            .map(|slot| slot.0)
            .collect();
        let Ok(now) = self.requests.in_context(context, id, slots.iter().copied()) else { return };
        let mut known = budgeted.known();
        let counters = &mut known.in_context(context).counters;
        for (slot, now) in slots.into_iter().zip(now) {
            if let Some(counter) = counters.get_mut(slot as usize) {
                *counter = now;
            }
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

/// The sites that have stopped in some process of a context.
fn stopped(object: &Object, context: u32) -> Vec<usize> {
    let frozen = object.frozen(context);
    let sites = object.budgeted.iter().flat_map(|budgeted| budgeted.plan.sites.iter().enumerate());
    sites.filter(|(_, site)| slots_of(site.observe).any(|slot| frozen.has(slot))).map(|(index, _)| index).collect()
}
