//! Which calls are sure to come back, and which never do.
//!
//! A call that may not come back, or may twice, cuts the flow through its block: nothing tells that what came as far
//! as the call went on behind it. Most calls do come back, and exactly once. That is true of a function whose every way leads to a
//! return, if it is true of whatever the function calls; and of those functions of libraries that [`names`] lists. It is not
//! true of what throws, exits, jumps far, makes a system call, waits, or calls through a pointer.

mod names;
#[cfg(test)]
mod tests;

use super::code::{Code, explore};
use super::functions::Layout;
use super::graph::cycles;
use super::stack::{comes_back, never_comes_back};
use super::x86_64::{Callee, Flow, Insn, Returns};
use crate::object::{LinkAddr, Object};
use names::by_name;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How much code beyond that of wanted sources is looked at, in bytes; what is not looked at may not return.
const BUDGET: u64 = 4 << 20;
/// How often functions that never return may show that others never do.
const ROUNDS: u32 = 8;

/// The code of the regions `wanted`, with what is known of its calls.
pub(super) fn explore_all(object: &Object, layout: &Layout, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Code> {
    let calls = Calls { object, layout };
    let mut known = Known::default();
    let mut budget = BUDGET;
    let mut found = wanted.clone();
    while !found.is_empty() {
        let mut next = known.explore(&calls, &found);
        next.retain(|region| {
            let left =
                (!known.codes.contains_key(region)).then(|| budget.checked_sub(layout.size_of(*region))).flatten();
            budget = left.unwrap_or(budget);
            left.is_some()
        });
        found = next;
    }
    known.explore_amid(&calls);
    Code::settle(known.codes.values_mut());
    let mut returns: HashMap<u32, Returns> = HashMap::new();
    let surely = known.surely();
    let recurs = cycles(&known.needs);
    returns.extend(surely.into_iter().map(|region| (region, Returns::Surely)));
    returns.extend(known.never(&calls).into_iter().map(|region| (region, Returns::Never)));
    let mut codes = known.codes;
    codes.retain(|region, _| wanted.contains(region));
    codes.par_iter_mut().for_each(|(region, code)| {
        code.recurs = recurs.contains(region);
        for insn in &mut code.insns {
            if let Flow::Call { callee, returns: slot } = &mut insn.flow {
                *slot = match calls.to(*callee) {
                    To::Region(region) => returns.get(&region).copied().unwrap_or_default(),
                    To::Library(returns) => returns,
                };
            }
        }
    });
    codes
}

/// What was found out about regions.
#[derive(Default)]
struct Known {
    codes: BTreeMap<u32, Code>,
    /// The regions that each calls or jumps to, sorted.
    callees: HashMap<u32, Vec<u32>>,
    /// Where others lead into the middle of regions.
    amid: HashMap<u32, Vec<u64>>,
    /// For regions that come back if certain others do: these.
    needs: HashMap<u32, Vec<u32>>,
}

impl Known {
    /// Explores the regions `found`, and gives those that they call.
    fn explore(&mut self, calls: &Calls<'_>, found: &BTreeSet<u32>) -> BTreeSet<u32> {
        let none = Vec::new();
        let one = |&region: &u32| {
            let amid = self.amid.get(&region).unwrap_or(&none);
            let code = explore(calls.object, calls.layout, calls.layout.regions.get(region as usize)?, amid);
            Some((region, calls.needs(&code, region), calls.callees(&code), code))
        };
        let explored: Vec<_> = found.par_iter().filter_map(one).collect();
        let mut next = BTreeSet::new();
        for (region, needs, callees, code) in explored {
            match needs {
                Some(needs) => _ = self.needs.insert(region, needs),
                None => _ = self.needs.remove(&region),
            }
            next.extend(callees.iter().copied());
            self.callees.insert(region, callees);
            self.codes.insert(region, code);
        }
        next
    }

    /// Explores regions again whose middle others lead into, which only following control has shown: between known starts
    /// bytes can be read as other instructions as well.
    fn explore_amid(&mut self, calls: &Calls<'_>) {
        let mut all: Vec<u32> = self.codes.keys().copied().collect();
        for round in 0..=ROUNDS {
            let led =
                all.par_iter().filter_map(|region| self.codes.get(region)).flat_map_iter(|code| calls.led_amid(code));
            let mut again = BTreeSet::new();
            for (region, addr) in led.collect::<BTreeSet<_>>() {
                if self.codes.get(&region).is_none_or(|code| code.entries.binary_search(&addr).is_ok()) {
                    continue;
                }
                let amid = self.amid.entry(region).or_default();
                if let Err(at) = amid.binary_search(&addr) {
                    amid.insert(at, addr);
                    again.insert(region);
                }
            }
            if round == ROUNDS {
                // There is no end of it: what of it is instructions nobody can tell.
                self.codes.retain(|region, _| !again.contains(region));
                self.needs.retain(|region, _| !again.contains(region));
                break;
            }
            if again.is_empty() {
                break;
            }
            self.explore(calls, &again);
            all = again.into_iter().collect();
        }
    }

    /// The regions that are sure to come back: the greatest set of which that can be said.
    fn surely(&mut self) -> HashSet<u32> {
        let mut needed_by: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&region, needs) in &self.needs {
            needs.iter().for_each(|&need| needed_by.entry(need).or_default().push(region));
        }
        let mut open: Vec<u32> = needed_by.keys().copied().filter(|need| !self.needs.contains_key(need)).collect();
        while let Some(unsure) = open.pop() {
            let others = needed_by.remove(&unsure).unwrap_or_default();
            open.extend(others.into_iter().filter(|other| self.needs.remove(other).is_some()));
        }
        self.needs.keys().copied().collect()
    }

    /// Regions that never come back.
    fn never(&self, calls: &Calls<'_>) -> HashSet<u32> {
        let mut called_by: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&region, callees) in &self.callees {
            callees.iter().for_each(|&callee| called_by.entry(callee).or_default().push(region));
        }
        let mut never = HashSet::new();
        let mut candidates: BTreeSet<u32> = self.codes.keys().copied().collect();
        for _ in 0..ROUNDS {
            let is_never = |region: &u32| self.codes.get(region).is_some_and(|code| calls.never(code, *region, &never));
            let found: Vec<u32> = candidates.iter().copied().filter(is_never).collect();
            let callers = found.iter().flat_map(|region| called_by.get(region).into_iter().flatten());
            candidates = callers.copied().filter(|region| !never.contains(region) && !found.contains(region)).collect();
            never.extend(found);
        }
        never
    }
}

/// Where a call leads.
enum To {
    Region(u32),
    /// To a function of a library, or nobody knows where.
    Library(Returns),
}

/// What calls lead to.
struct Calls<'a> {
    object: &'a Object,
    layout: &'a Layout,
}

impl Calls<'_> {
    fn to(&self, callee: Callee) -> To {
        let by_name = |names: &[(LinkAddr, String)], addr: u64| {
            let at = names.binary_search_by_key(&LinkAddr(addr), |(at, _)| *at).ok()?;
            Some(To::Library(by_name(&names.get(at)?.1)))
        };
        let image = &self.object.image;
        let to = match callee {
            Callee::Direct(addr) => by_name(&image.plt, addr).or_else(|| self.layout.begun_at(addr).map(To::Region)),
            Callee::Slot(addr) => by_name(&image.got, addr),
            Callee::Unknown => None,
        };
        to.unwrap_or(To::Library(Returns::Perhaps))
    }

    /// The regions that code calls or jumps to.
    fn callees(&self, code: &Code) -> Vec<u32> {
        let region = |insn: &Insn| {
            let to = match insn.flow {
                Flow::Call { callee, .. } => self.to(callee),
                Flow::Jump { target } | Flow::Branch { target, .. } if code.at(target).is_none() => {
                    self.to(Callee::Direct(target))
                }
                _ => return None,
            };
            if let To::Region(region) = to { Some(region) } else { None }
        };
        let mut regions: Vec<u32> = code.insns.iter().filter_map(region).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// Where code leads into the middle of other regions, and which.
    fn led_amid(&self, code: &Code) -> Vec<(u32, u64)> {
        let next = code.insns.iter().skip(1).map(Some).chain([None]);
        let leaves = |(insn, next): &(&Insn, Option<&Insn>)| {
            insn.flow != Flow::Next || next.is_none_or(|next| next.addr != insn.end())
        };
        let addresses = code.insns.iter().zip(next).filter(leaves).flat_map(|(insn, _)| match insn.flow {
            Flow::Next => [None, Some(insn.end())],
            Flow::Call { callee: Callee::Direct(to), .. } | Flow::Branch { target: to, .. } => {
                [Some(to), Some(insn.end())]
            }
            Flow::Call { .. } => [None, Some(insn.end())],
            Flow::Jump { target } => [Some(target), None],
            Flow::Indirect { .. } | Flow::Stop => [None, None],
        });
        let outside = addresses.flatten().filter(|&addr| code.at(addr).is_none());
        outside.filter_map(|addr| Some((self.layout.amid(addr)?, addr))).collect()
    }

    /// The regions that must come back for this one to; `None` if it may not all the same.
    fn needs(&self, code: &Code, region: u32) -> Option<Vec<u32>> {
        let callees = comes_back(code, &self.layout.begins(region)).filter(|_| code.is_resolved())?;
        let mut needs = Vec::new();
        for callee in callees {
            match self.to(callee) {
                To::Region(region) => needs.push(region),
                To::Library(Returns::Surely) => {}
                To::Library(_) => return None,
            }
        }
        Some(needs)
    }

    /// Whether nothing in a region returns, if nothing in `never` does.
    fn never(&self, code: &Code, region: u32, never: &HashSet<u32>) -> bool {
        let returns = |callee| match self.to(callee) {
            To::Region(region) => !never.contains(&region),
            To::Library(returns) => returns != Returns::Never,
        };
        code.is_resolved() && never_comes_back(code, &self.layout.begins(region), &returns)
    }
}
