//! Where computed jumps go: tables of a `switch`, and labels of a computed `goto`.
//!
//! An edge too many costs a probe; an edge that is missing makes counts wrong. So tables are read on
//! until an entry leaves the function, not just up to the bound that the code checks.

use super::functions::Layout;
use super::x86_64::Mention;
use crate::object::{LinkAddr, Object};

/// A table with more entries than this is none.
const MAX_ENTRIES: u64 = 1 << 16;
/// How many bytes of code before a jump are searched for the address of its table.
const WINDOW: u64 = 96;

/// The tables that a region mentions.
pub(super) struct Tables<'a> {
    pub(super) object: &'a Object,
    pub(super) layout: &'a Layout,
    /// By the address of the mentioning instruction.
    pub(super) mentions: &'a [(u64, Mention)],
    /// Labels whose address is taken.
    pub(super) labels: Vec<u64>,
    /// Whether a jump may go to an address: it is in the region, and an instruction begins there.
    pub(super) valid: &'a dyn Fn(u64) -> bool,
}

impl Tables<'_> {
    /// The targets of each of `jumps`. A jump without any is a tail call through a pointer.
    pub(super) fn resolve_all(&self, jumps: &[u64]) -> Vec<(u64, Vec<u64>)> {
        let mut all = None; // every table of the region
        let mut resolved = Vec::new();
        for &jump in jumps {
            let from = self.mentions.partition_point(|&(at, _)| at < jump.saturating_sub(WINDOW));
            let to = self.mentions.partition_point(|&(at, _)| at < jump + 1);
            let near = self.mentions.get(from..to).unwrap_or_default();
            let mut targets = self.union(near);
            if targets.is_empty() {
                // The compiler loaded the table's address far away, outside a loop perhaps.
                targets.clone_from(all.get_or_insert_with(|| self.union(self.mentions)));
            }
            targets.extend(&self.labels);
            targets.sort_unstable();
            targets.dedup();
            resolved.push((jump, targets));
        }
        resolved
    }

    /// The targets of all tables that `mentions` tell of.
    fn union(&self, mentions: &[(u64, Mention)]) -> Vec<u64> {
        let mut tables: Vec<Mention> = mentions.iter().map(|&(_, m)| m).collect();
        tables.sort_unstable_by_key(|m| match *m {
            Mention::Address(addr) => (addr, false),
            Mention::Table(addr) => (addr, true),
        });
        tables.dedup();
        tables.into_iter().flat_map(|m| self.read(m)).collect()
    }

    /// The targets in the table that `mention` may mean; none if it is no table.
    fn read(&self, mention: Mention) -> Vec<u64> {
        let base = mention.address();
        if self.object.image.segment_at(LinkAddr(base)).is_none() {
            return Vec::new();
        }
        let relative = || self.entries(base, |e: [u8; 4]| base.wrapping_add_signed(i64::from(i32::from_le_bytes(e))));
        let absolute = || self.entries(base, u64::from_le_bytes);
        let short = || self.entries(base, |e: [u8; 4]| u64::from(u32::from_le_bytes(e)));
        let first = match mention {
            Mention::Address(_) => relative(),
            Mention::Table(_) => absolute(),
        };
        if !first.is_empty() {
            return first;
        }
        match mention {
            Mention::Address(_) => absolute(),
            Mention::Table(_) => short(),
        }
    }

    /// Where the table ends that lies at `base` among the code, as far as can be told: at the first thing that is
    /// known to be code, or that an entry of the table leads to.
    pub(super) fn extent(&self, base: u64, code: &dyn Fn(u64) -> bool) -> u64 {
        let mut tables: Vec<Mention> = self.mentions.iter().map(|m| m.1).filter(|m| m.address() == base).collect();
        tables.dedup();
        let targets: Vec<u64> = tables.into_iter().flat_map(|m| self.read(m)).collect();
        let len = 4 * u64::try_from(targets.len()).unwrap_or_default().max(1);
        let first = targets.into_iter().filter(|&t| t > base).min().unwrap_or(u64::MAX);
        (base..base.saturating_add(len).min(first)).find(|&a| code(a)).unwrap_or(base.saturating_add(len).min(first))
    }

    fn entries<const N: usize>(&self, base: u64, target: impl Fn([u8; N]) -> u64) -> Vec<u64> {
        // The next thing that code mentions is another table, or other data.
        let next = self.layout.data.partition_point(|&a| a <= base);
        let limit = self.layout.data.get(next).map_or(MAX_ENTRIES, |&a| (a - base) / N as u64).min(MAX_ENTRIES);
        let bytes = self.object.image.bytes_from(LinkAddr(base)).unwrap_or_default();
        let entries = bytes.as_chunks::<N>().0.iter().take(usize::try_from(limit).unwrap_or_default());
        let mut targets: Vec<u64> = Vec::new();
        let mut at = base;
        let mut first = u64::MAX;
        for entry in entries {
            let target = target(*entry);
            // A table among the code ends where what it leads to begins.
            if at >= first || !(self.valid)(target) {
                break;
            }
            targets.push(target);
            at += N as u64;
            if target > base {
                first = first.min(target);
            }
        }
        targets
    }
}
