//! What is known of an object's code.

use super::PlanOptions;
use super::cfg::Cfg;
use super::code::explore;
use super::functions::Layout;
use super::rows::spans;
use crate::object::{FileId, LinkAddr, Object};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fmt;

/// Why the flow of control through a function is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Its table of landing pads cannot be read.
    LandingPads,
    /// Its jump tables lead to more places, or to more tables, than any function has.
    Tables,
    /// Control seems to run into data.
    Data,
    /// Instructions overlap.
    Overlap,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LandingPads => "its table of landing pads cannot be read",
            Self::Tables => "its jump tables have no end",
            Self::Data => "control seems to run into data",
            Self::Overlap => "its instructions overlap",
        })
    }
}

/// A function whose flow of control is not known: each of its statements has a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Where it begins.
    pub addr: LinkAddr,
    /// Its symbol, mangled.
    pub name: Option<String>,
    /// Why.
    pub doubt: Doubt,
}

/// What is known of the code that has wanted lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many functions there are; such as share code count as one.
    pub functions: usize,
    /// How many basic blocks they have.
    pub blocks: usize,
    /// By rising address.
    pub unresolved: Vec<Unresolved>,
}

/// Looks at the code of `object` that has wanted lines.
#[must_use]
pub fn survey(object: &Object, options: &PlanOptions<'_>) -> Survey {
    let layout = Layout::new(object);
    let wanted: Vec<bool> = object.lines.files.iter().map(|f| (options.wanted)(&f.path)).collect();
    let wanted = |file: FileId| wanted.get(file.0 as usize).copied().unwrap_or_default();
    let region_at = |addr: u64| layout.region_of.get(layout.find(addr)?).copied();
    let regions: BTreeSet<u32> = spans(&object.lines, wanted).iter().filter_map(|s| region_at(s.start)).collect();
    let one = |&region: &u32| {
        let region = layout.regions.get(region as usize)?;
        let start = layout.fragments_of(region).next()?.start;
        let code = explore(object, &layout, region, &[]);
        let doubt = code.doubt;
        let blocks = Cfg::new(&object.image.fdes, code).blocks.len();
        Some((LinkAddr(start), doubt, blocks))
    };
    let found: Vec<_> = regions.par_iter().filter_map(one).collect();
    let unresolved = |&(addr, doubt, _): &(LinkAddr, Option<Doubt>, usize)| {
        let name = object.image.symbol_at(addr).map(str::to_owned);
        doubt.map(|doubt| Unresolved { addr, name, doubt })
    };
    Survey {
        functions: found.len(),
        blocks: found.iter().map(|(_, _, blocks)| blocks).sum(),
        unresolved: found.iter().filter_map(unresolved).collect(),
    }
}
