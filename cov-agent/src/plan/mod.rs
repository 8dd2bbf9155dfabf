//! Line table and machine code → [`ProbePlan`]: WHERE to probe, and HOW counters become line counts.
//!
//! Pure: no kernel, no privilege, no file.

mod types;

pub use types::{
    Condition, FunctionFormula, Instruction, LineFormula, Observe, ProbePlan, Reason, Site, SlotId, Term, Unmeasurable,
};
