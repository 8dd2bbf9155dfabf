//! Whether a plan that was made earlier still fits its object.

use super::types::{Observe, ProbePlan, Site};
use super::x86_64::{Flow, LONGEST, decode};

/// Whether at every site of `plan` the file with these bytes has an instruction of the kind that the plan says. Whether
/// control comes by there is not looked at.
#[must_use]
pub fn still_holds(plan: &ProbePlan, bytes: &[u8]) -> bool {
    plan.sites.iter().chain(&plan.spare).all(|site| holds(site, plan.slots, bytes))
}

fn holds(site: &Site, slots: u32, bytes: &[u8]) -> bool {
    let Some(rest) = usize::try_from(site.offset.0).ok().and_then(|at| bytes.get(at..)) else { return false };
    let Some((insn, _)) = decode(rest.get(..LONGEST).unwrap_or(rest), site.addr.0) else { return false };
    let observed = match (site.observe, insn.flow) {
        (Observe::Count { slot }, _) => slot.0 < slots,
        (Observe::Branch { condition, taken }, Flow::Branch { condition: Some(found), .. }) => {
            condition == found && taken.0.checked_add(1).is_some_and(|not_taken| not_taken < slots)
        }
        (Observe::Branch { .. }, _) => false,
    };
    observed && insn.probe == Some(site.instruction)
}
