//! Cycles within a set of blocks.

use super::cfg::Cfg;
use std::collections::{HashMap, HashSet};

/// The edges that close a cycle within `set`, sorted: those that a depth-first walk along edges within
/// the set finds to lead back to a block it came through. The walk begins at the blocks for which `first` holds.
///
/// `set` is sorted.
pub(super) fn back_edges(cfg: &Cfg, set: &[u32], first: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut back = Vec::new();
    if let [only] = *set {
        if cfg.successors(only).contains(&only) {
            back.push((only, only));
        }
        return back;
    }
    let mut states = vec![State::New; set.len()];
    let (roots, others): (Vec<usize>, Vec<usize>) =
        (0..set.len()).partition(|&n| set.get(n).is_some_and(|&b| first(b)));
    // Each entry: a member of the set, and how many of its successors have been looked at.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in roots.into_iter().chain(others) {
        if states.get(root) != Some(&State::New) {
            continue;
        }
        path.push((root, 0));
        while let Some((member, looked)) = path.last_mut() {
            let (Some(&block), Some(state)) = (set.get(*member), states.get_mut(*member)) else { break };
            *state = State::Open;
            let Some(&next) = cfg.successors(block).get(*looked) else {
                *state = State::Done;
                path.pop();
                continue;
            };
            *looked += 1;
            let Ok(next_member) = set.binary_search(&next) else { continue };
            match states.get(next_member) {
                Some(State::New) => path.push((next_member, 0)),
                Some(State::Open) => back.push((block, next)),
                _ => {}
            }
        }
    }
    back.sort_unstable();
    back.dedup();
    back
}

/// How often [`cycles`] looks again; what is left then may lie between cycles.
const LOOKS: usize = 64;

/// The nodes that lie on a cycle, and perhaps some between such; `to` is where each node leads.
pub(super) fn cycles(to: &HashMap<u32, Vec<u32>>) -> HashSet<u32> {
    let mut left: HashSet<u32> = to.keys().copied().collect();
    // What leads to none of the rest, or is led to by none, is on no cycle.
    for _ in 0..LOOKS {
        let from = |node: &u32| to.get(node).into_iter().flatten().filter(|to| left.contains(to));
        let reached: HashSet<u32> = left.iter().flat_map(from).copied().collect();
        let next: HashSet<u32> =
            left.iter().copied().filter(|node| reached.contains(node) && from(node).next().is_some()).collect();
        if next.len() == left.len() {
            break;
        }
        left = next;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_back_to_itself_is_on_a_cycle() {
        let to = HashMap::from([(1, vec![2]), (2, vec![3, 4]), (3, vec![2]), (4, vec![5]), (5, vec![]), (6, vec![6])]);
        assert_eq!(cycles(&to), HashSet::from([2, 3, 6]));
    }
}
