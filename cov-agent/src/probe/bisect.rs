//! Arming many sites with few links, though the kernel refuses a whole link for one bad site and does
//! not say which.

use std::io;
use std::ops::Range;

/// The most sites that the kernel takes in one link (`MAX_UPROBE_MULTI_CNT`).
pub(super) const MAX_SITES_PER_LINK: usize = 1 << 20;

/// How many failed links to afford. Each may cost a grace period, some 50 ms, and finding one bad
/// site among a million takes 20.
const MAX_FAILURES: u32 = 400;

/// Into how many parts a refused range is split. A failed link costs as much as it has sites, and each
/// part that is taken stays a link of its own: more parts mean less of the one and more of the other.
const PARTS: usize = 8;

/// What attaching a link to some of the sites gave.
pub(super) enum Attempt<L, E> {
    /// They are armed.
    Armed(L),
    /// At least one of them is of a kind that the kernel does not take.
    Refused(io::Error),
    /// It would fail whatever the sites.
    Failed(E),
}

/// Links for all sites but the refused ones, and those.
pub(super) struct Outcome<L> {
    /// The links.
    pub links: Vec<L>,
    /// Refused sites by rising index.
    pub refused: Vec<(usize, io::Error)>,
}

/// Arms the sites `0..count` with links of up to `per_link` sites. Splits what is refused until single sites are
/// left; when that took too many attempts, refuses whole ranges.
pub(super) fn arm<L, E>(
    count: usize,
    per_link: usize,
    mut attach: impl FnMut(Range<usize>) -> Attempt<L, E>,
) -> Result<Outcome<L>, E> {
    let mut outcome = Outcome { links: Vec::new(), refused: Vec::new() };
    let mut failures = 0;
    // A stack: what is taken first is what comes first.
    let mut todo: Vec<_> = split(0..count, per_link).rev().collect();
    while let Some(range) = todo.pop() {
        match attach(range.clone()) {
            Attempt::Armed(link) => outcome.links.push(link),
            Attempt::Failed(error) => return Err(error),
            Attempt::Refused(error) => {
                failures += 1;
                if range.len() > 1 && failures < MAX_FAILURES {
                    todo.extend(split(range.clone(), range.len().div_ceil(PARTS)).rev());
                } else {
                    outcome.refused.extend(range.map(|site| (site, copy(&error))));
                }
            }
        }
    }
    Ok(outcome)
}

/// The parts of `range`, each `size` long but the last.
fn split(range: Range<usize>, size: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let end = range.end;
    let parts = range.len().div_ceil(size);
    (0..parts).map(move |part| range.start + part * size..end.min(range.start + (part + 1) * size))
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn arm_with(bad: &BTreeSet<usize>, count: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let outcome = arm(count, MAX_SITES_PER_LINK, |range| {
            if bad.range(range.clone()).next().is_some() {
                Attempt::<_, ()>::Refused(io::Error::from_raw_os_error(524))
            } else {
                Attempt::Armed(range)
            }
        })
        .unwrap();
        let mut armed = BTreeSet::new();
        for site in outcome.links.into_iter().flatten() {
            assert!(armed.insert(site), "site {site} is armed twice");
        }
        let refused: Vec<_> = outcome.refused.iter().map(|(site, _)| *site).collect();
        assert!(refused.is_sorted());
        (armed, refused.into_iter().collect())
    }

    proptest! {
        #[test]
        fn exactly_the_bad_sites_are_refused(bad in prop::collection::btree_set(0usize..3000, 0..20), count in 0usize..3000) {
            let bad: BTreeSet<_> = bad.into_iter().filter(|site| *site < count).collect();
            let (armed, refused) = arm_with(&bad, count);
            prop_assert_eq!(&refused, &bad);
            prop_assert_eq!(armed, (0..count).filter(|site| !bad.contains(site)).collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn too_many_bad_sites_end_the_search() {
        let bad = (0..100_000).step_by(2).collect();
        let (armed, refused) = arm_with(&bad, 100_000);
        assert_eq!(armed.len() + refused.len(), 100_000, "every site is armed or refused");
        assert!(refused.is_superset(&bad));
    }

    #[test]
    fn a_link_takes_a_million_sites() {
        let mut sizes = Vec::new();
        arm((3 << 20) + 5, MAX_SITES_PER_LINK, |range| {
            sizes.push(range.len());
            Attempt::<_, ()>::Armed(())
        })
        .unwrap();
        assert_eq!(sizes, [1 << 20, 1 << 20, 1 << 20, 5]);
    }

    #[test]
    fn one_by_one_a_refused_site_costs_no_other_attempt() {
        let mut attempts = 0;
        let outcome = arm(1000, 1, |range| {
            attempts += 1;
            if range.start % 2 == 0 {
                Attempt::<_, ()>::Armed(range)
            } else {
                Attempt::Refused(io::Error::from_raw_os_error(libc::EMFILE))
            }
        })
        .unwrap();
        assert_eq!((attempts, outcome.links.len(), outcome.refused.len()), (1000, 500, 500));
    }

    #[test]
    fn other_failures_end_it_at_once() {
        let mut attempts = 0;
        let result = arm(100, MAX_SITES_PER_LINK, |_| {
            attempts += 1;
            Attempt::<(), _>::Failed("no permission")
        });
        assert_eq!(result.err(), Some("no permission"));
        assert_eq!(attempts, 1);
    }
}
