//! Dominators, by Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm" (2001).

use super::steps::Steps;

/// How many times the nodes are gone over, and how many steps up the tree may be taken for each, before it is given up.
const ROUNDS: usize = 12;
const CLIMB: usize = 64;

/// Which nodes cannot be reached but through others.
#[derive(Debug)]
pub(super) struct Dominators {
    /// For each node when a walk down the tree enters it, and when it has left it. 0 to 0 for nodes that are not in the tree.
    spans: Vec<(u32, u32)>,
}

impl Dominators {
    /// The dominators of the nodes that `root` reaches along `next`. `None` where it takes too long.
    pub(super) fn new(root: u32, next: &Steps, back: &Steps) -> Option<Self> {
        let order = postorder(root, next);
        let mut number = vec![u32::MAX; next.len()];
        for (n, &node) in (0..).zip(&order) {
            *number.get_mut(node as usize)? = n;
        }
        let top = u32::try_from(order.len()).ok()?.checked_sub(1)?;
        // By number in postorder; the root is its own.
        let mut above = vec![u32::MAX; order.len()];
        *above.last_mut()? = top;
        let mut budget = CLIMB * order.len();
        for round in 0.. {
            let mut changed = false;
            for n in (0..top).rev() {
                let node = *order.get(n as usize)?;
                let mut new = u32::MAX;
                for from in back.from(node) {
                    let from = *number.get(*from as usize)?;
                    if from == u32::MAX || *above.get(from as usize)? == u32::MAX {
                        continue;
                    }
                    let (mut a, mut b) = (from, if new == u32::MAX { from } else { new });
                    while a != b {
                        budget = budget.checked_sub(1)?;
                        let low = if a < b { &mut a } else { &mut b };
                        *low = *above.get(*low as usize)?;
                    }
                    new = a;
                }
                let slot = above.get_mut(n as usize)?;
                changed |= *slot != new;
                *slot = new;
            }
            if !changed {
                break;
            }
            if round == ROUNDS {
                return None;
            }
        }
        let below: Vec<(u32, u32)> = (0..top).map(|n| (above.get(n as usize).copied().unwrap_or(top), n)).collect();
        let below = Steps::new(order.len(), below);
        let mut spans = vec![(0, 0); next.len()];
        let mut clock = 0;
        let mut path = vec![(top, 0)];
        while let Some((n, looked)) = path.last_mut() {
            let node = *order.get(*n as usize)?;
            let span = spans.get_mut(node as usize)?;
            if *looked == 0 {
                clock += 1;
                span.0 = clock;
            }
            match below.from(*n).get(*looked) {
                Some(&child) => {
                    *looked += 1;
                    path.push((child, 0));
                }
                None => {
                    clock += 1;
                    span.1 = clock;
                    path.pop();
                }
            }
        }
        Some(Self { spans })
    }

    /// Whether `node` is where ways begin.
    pub(super) fn is_root(&self, node: u32) -> bool {
        self.spans.get(node as usize).is_some_and(|span| span.0 == 1)
    }

    /// Whether all ways to `node` lead through `through`.
    pub(super) fn dominates(&self, through: u32, node: u32) -> bool {
        let span = |of: u32| self.spans.get(of as usize).copied().unwrap_or_default();
        let (outer, inner) = (span(through), span(node));
        through == node || (inner.0 != 0 && outer.0 <= inner.0 && inner.1 <= outer.1)
    }
}

/// The nodes that `root` reaches, each after those that it leads to but for cycles.
fn postorder(root: u32, next: &Steps) -> Vec<u32> {
    let mut seen = vec![false; next.len()];
    let mut order = Vec::new();
    let mut path = vec![(root, 0)];
    while let Some((node, looked)) = path.last_mut() {
        if let Some(seen) = seen.get_mut(*node as usize) {
            *seen = true;
        }
        match next.from(*node).get(*looked) {
            Some(&to) => {
                *looked += 1;
                if seen.get(to as usize) == Some(&false) {
                    path.push((to, 0));
                }
            }
            None => {
                order.push(*node);
                path.pop();
            }
        }
    }
    order
}
