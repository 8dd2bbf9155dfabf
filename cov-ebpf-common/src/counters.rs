//! Where a counter lies in an object's map.
//!
//! A counter has a copy, a stripe, for each of some processors, so that processors do not fight for
//! one cache line. Eight neighbouring counters of one stripe share a line; the stripes of a group of
//! eight lie one after the other.

use crate::MAX_STRIPES_LOG2;

/// Counters in a cache line of 64 bytes.
const GROUP: u32 = 8;

/// The element of counter `slot` that `cpu` adds to, where there are `1 << stripes_log2` stripes.
#[must_use]
#[inline(always)]
pub const fn index(slot: u32, stripes_log2: u32, cpu: u32) -> u32 {
    let stripe = cpu & ((1 << stripes_log2) - 1);
    ((((slot / GROUP) << stripes_log2) + stripe) * GROUP) + slot % GROUP
}

/// How one object's counters are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Striping {
    slots: u32,
    stripes_log2: u32,
}

impl Striping {
    /// As many stripes as there are processors, rounded up to a power of two, but not more than fit
    /// into `max_bytes`; always at least one.
    #[must_use]
    pub const fn new(slots: u32, cpus: u32, max_bytes: u64) -> Self {
        let mut stripes_log2 = cpus.next_power_of_two().trailing_zeros();
        while stripes_log2 > 0
            && (stripes_log2 > MAX_STRIPES_LOG2
                || (slots.div_ceil(GROUP) as u64 * GROUP as u64 * 8) << stripes_log2 > max_bytes)
        {
            stripes_log2 -= 1;
        }
        Self { slots, stripes_log2 }
    }

    /// Base-2 logarithm of the number of stripes.
    #[must_use]
    pub const fn stripes_log2(self) -> u32 {
        self.stripes_log2
    }

    /// Elements of the map: 64-bit counters, at least one.
    #[must_use]
    pub const fn len(self) -> u32 {
        let groups = if self.slots == 0 { 1 } else { self.slots.div_ceil(GROUP) };
        (groups << self.stripes_log2) * GROUP
    }

    /// Never: a map has at least one element.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// How many counters.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// The elements that together are counter `slot`.
    pub fn elements(self, slot: u32) -> impl Iterator<Item = u32> {
        (0..1u32 << self.stripes_log2).map(move |stripe| index(slot, self.stripes_log2, stripe))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn every_element_belongs_to_one_counter(slots in 1u32..500, cpus in 1u32..70) {
            let striping = Striping::new(slots, cpus, u64::MAX);
            let mut owners = vec![0; striping.len() as usize];
            for slot in 0..slots {
                for element in striping.elements(slot) {
                    owners[element as usize] += 1;
                }
                for cpu in 0..cpus {
                    prop_assert!(striping.elements(slot).any(|e| e == index(slot, striping.stripes_log2(), cpu)));
                }
            }
            prop_assert!(owners.iter().all(|&n| n <= 1));
            prop_assert!(owners.iter().sum::<u32>() == slots << striping.stripes_log2());
        }

        #[test]
        fn memory_stays_below_the_bound(slots in 1u32..2_000_000, cpus in 1u32..5000) {
            let bound = 64 << 20;
            prop_assert!(u64::from(Striping::new(slots, cpus, bound).len()) * 8 <= bound);
        }
    }

    #[test]
    fn processors_do_not_share_cache_lines() {
        assert_ne!(index(3, 1, 0) / 8, index(3, 1, 1) / 8);
        assert_eq!(index(3, 1, 0), index(3, 1, 2));
        assert_eq!(index(3, 0, 5), 3);
        assert_eq!(Striping::new(44_000, 256, 64 << 20).stripes_log2(), 7);
        assert_eq!(Striping::new(10_000_000, 2, 64 << 20).stripes_log2(), 0);
    }
}
