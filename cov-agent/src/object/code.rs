//! Telling code from what is left of code that the linker dropped.

use super::{AddrRange, Image, LinkAddr};

/// Where an object has code.
///
/// Linkers drop functions but leave their debug info, with an address that cannot be: 0 (bfd, gold),
/// 1 (bfd, in range lists), -1 or -2 (lld). All of these lie outside every executable section, so
/// that is what is asked. Only where an object has code at address 0 itself is there more to ask.
pub(super) struct CodeMap {
    code: Vec<AddrRange>,
    /// Where functions end, sorted; empty unless there is code at address 0.
    ends: Vec<LinkAddr>,
}

impl CodeMap {
    pub(super) fn new(image: &Image) -> Self {
        let mut ends = Vec::new();
        if image.is_code(LinkAddr(0)) {
            let functions = image.symbols.iter().map(|s| s.range).chain(image.fdes.iter().map(|f| f.range));
            ends = functions.flat_map(|r| [r.start, r.end]).chain(image.code.iter().map(|r| r.end)).collect();
            ends.sort_unstable();
            ends.dedup();
        }
        Self { code: image.code.clone(), ends }
    }

    /// Whether `start..end` is code of this object.
    pub(super) fn holds(&self, start: LinkAddr, end: LinkAddr) -> bool {
        let after = self.code.partition_point(|r| r.start <= start);
        let inside = after.checked_sub(1).and_then(|n| self.code.get(n)).is_some_and(|r| end <= r.end);
        // At address 0 both a function that is there and those that were dropped have their debug
        // info: that of the former ends where a function ends.
        inside && start < end && (start.0 != 0 || self.ends.binary_search(&end).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(code: &[(u64, u64)], ends: &[u64]) -> CodeMap {
        let range = |&(start, end): &(u64, u64)| AddrRange { start: LinkAddr(start), end: LinkAddr(end) };
        CodeMap { code: code.iter().map(range).collect(), ends: ends.iter().copied().map(LinkAddr).collect() }
    }

    #[test]
    fn holds_only_code() {
        let map = map(&[(0x1000, 0x2000), (0x3000, 0x3010)], &[]);
        let holds = |start, end| map.holds(LinkAddr(start), LinkAddr(end));
        assert!(holds(0x1000, 0x2000) && holds(0x1fff, 0x2000) && holds(0x3000, 0x3001));
        assert!(!holds(0x1000, 0x2001), "reaches past the section");
        assert!(!holds(0x1000, 0x1000), "empty");
        assert!(!holds(0x1010, 0x1000), "inverted");
        for tombstone in [0, 1, u64::MAX, u64::MAX - 1] {
            assert!(!holds(tombstone, tombstone.wrapping_add(0x20)), "{tombstone:#x}");
        }
        assert!(!holds(0, 0x1800), "begins outside");
    }

    #[test]
    fn code_at_address_0_is_told_from_dropped_code() {
        let map = map(&[(0, 0x100)], &[0, 0x20, 0x100]);
        assert!(map.holds(LinkAddr(0), LinkAddr(0x20)));
        assert!(map.holds(LinkAddr(0), LinkAddr(0x100)));
        assert!(map.holds(LinkAddr(0x20), LinkAddr(0x33)));
        assert!(!map.holds(LinkAddr(0), LinkAddr(0x33)));
    }
}
