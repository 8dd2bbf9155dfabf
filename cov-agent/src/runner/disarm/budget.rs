//! What hits may cost, and which sites cost most.

use super::object::Object;
use crate::plan::{Instruction, Site};
use crate::probe::{Asking, Prices};
use std::collections::HashMap;
use std::time::Duration;

/// Between two looks at a process it spends at least so much on hits.
const STEP: Duration = Duration::from_millis(2);

/// What is left armed may cost this part of what it may, so that it need not be looked at again soon.
const AIM: f64 = 0.5;

/// What is spent in a look's time on sites that are not worth their disarming.
const CRUMBS: Duration = Duration::from_micros(500);

/// How much processes may spend on hits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// As a part of the time that a process runs for itself, what hits cost left out.
    pub share: f64,
    /// What each process may spend beside that.
    pub grace: Duration,
    /// What hits cost.
    pub prices: Prices,
}

impl Budget {
    /// Which hits ask for probes to be disarmed.
    #[must_use]
    pub fn asking(&self) -> Asking {
        Asking::OverLimit { prices: self.prices, grace: self.grace }
    }

    fn price(&self, site: &Site) -> Duration {
        match site.instruction {
            Instruction::Emulated => self.prices.emulated,
            Instruction::SingleStepped => self.prices.single_stepped,
        }
    }
}

/// What a process had spent when it was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    hits: Duration,
    own: Duration,
    /// With what it has spent it is to be looked at again.
    next: Duration,
}

/// What is known of the spending of processes.
#[derive(Debug)]
pub(super) struct Ledger {
    budget: Budget,
    last: HashMap<u32, Look>,
}

/// What comes of a look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// What part of the present cost of hits may stay, if it is too high.
    pub(super) keep: Option<f64>,
    /// With what it has spent the process is to be looked at again.
    pub(super) next: Duration,
}

impl Ledger {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, last: HashMap::new() }
    }

    /// Whether a process that has spent `hits` is to be looked at: one may have hit what is wanted once.
    pub(super) fn is_due(&self, pid: u32, hits: Duration) -> bool {
        let first = Look { next: self.budget.grace, ..Look::default() };
        // Less than before: another process has the number.
        let last = self.last.get(&pid).filter(|last| last.hits <= hits).unwrap_or(&first);
        hits >= last.next
    }

    /// Looks at a process that has run for `cpu` and spent `hits` of that on hits.
    pub(super) fn look(&mut self, pid: u32, cpu: Duration, hits: Duration) -> Verdict {
        let Budget { share, grace, .. } = self.budget;
        let own = cpu.saturating_sub(hits);
        let allowed = grace + own.mul_f64(share);
        let next = allowed.max(hits) + STEP;
        let last = self.last.insert(pid, Look { hits, own, next }).filter(|last| last.hits <= hits).unwrap_or_default();
        let keep = (hits > allowed).then(|| {
            let (spent, ran) = (hits.saturating_sub(last.hits), own.saturating_sub(last.own));
            (ran.as_secs_f64() * share * AIM / spent.as_secs_f64().max(1e-9)).min(1.0)
        });
        Verdict { keep, next }
    }

    /// The sites whose cost since the last call is the highest, so many that only the part `keep` of it is left, by object;
    /// `sites` tells of each object its sites and how often they were hit since.
    pub(super) fn hottest<'a>(
        &self,
        objects: impl Iterator<Item = (usize, &'a Object, Vec<u64>)>,
        keep: f64,
    ) -> Vec<(usize, usize)> {
        let mut costs: Vec<(Duration, usize, usize)> = Vec::new();
        for (n, object, hits) in objects {
            for (index, (site, hits)) in object.sites().iter().zip(hits).enumerate() {
                let cost = self.budget.price(site).as_nanos() * u128::from(hits);
                let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
                if hits > 0 && object.may_go(site) {
                    costs.push((cost, n, index));
                }
            }
        }
        costs.sort_unstable_by(|a, b| b.cmp(a));
        let total: Duration = costs.iter().fold(Duration::ZERO, |sum, (cost, ..)| sum.saturating_add(*cost));
        let may_stay = total.mul_f64(keep).max(CRUMBS);
        let mut left = total;
        let mut hottest = Vec::new();
        for (cost, n, index) in costs {
            if left <= may_stay {
                break;
            }
            left = left.saturating_sub(cost);
            hottest.push((n, index));
        }
        hottest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_process_has_a_grace_and_then_a_share_of_its_own_time() {
        let mut ledger = Ledger::new(Budget { share: 0.05, grace: ms(100), prices: Prices::TYPICAL });
        // All of its time went into hits: within the grace.
        assert_eq!(ledger.look(1, ms(100), ms(100)), Verdict { keep: None, next: ms(102) });
        // Beyond it, with hardly any time of its own.
        let Verdict { keep, next } = ledger.look(1, ms(104), ms(102));
        assert_eq!((keep.map(|keep| (keep * 1000.0).round()), next), (Some(25.0), ms(104)));
        assert!(
            ledger.is_due(1, ms(104))
                && !ledger.is_due(1, ms(103))
                && !ledger.is_due(2, ms(99))
                && ledger.is_due(1, ms(100))
        );
        // A second of its own time pays for 50 ms more.
        assert_eq!(ledger.look(1, ms(1142), ms(140)), Verdict { keep: None, next: Duration::from_micros(152_100) });
        // Another process with that number begins anew.
        assert_eq!(ledger.look(1, ms(101), ms(100)).keep, None);
    }
}
