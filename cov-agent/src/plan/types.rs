//! What a planner gives: sites, and formulas over their counters.

use crate::object::{FileId, FileOffset, LinkAddr, ObjectId, SourceFile};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Dense index of one counter in one object's map; meaningless outside its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId(pub u32);

/// What the counters of a plan are to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Aim {
    /// How often each line and function was entered.
    #[default]
    Counts,
    /// Whether it was. All sums are of counters that only add: a counter that stops once it has counted leaves them
    /// true, and so does flow that is cut. Lines have no [`LineFormula::count`].
    Hits,
}

/// A condition of x86 conditional jumps: the low nibble of the `jcc` opcode (Intel SDM volume 2,
/// appendix B, "tttn"), 0 `jo` … 15 `jg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition(pub u8);

/// What one hit of a site adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observe {
    /// One to `slot`.
    Count {
        /// The counter.
        slot: SlotId,
    },
    /// The site is a conditional jump: one to `taken` where the flags satisfy `condition`, else one
    /// to the slot after it.
    Branch {
        /// The jump's condition.
        condition: Condition,
        /// Counter of "jumped"; the next slot is that of "fell through".
        taken: SlotId,
    },
}

impl Observe {
    /// The same with slots that begin `base` later.
    pub(super) fn shifted(self, base: u32) -> Self {
        match self {
            Self::Count { slot } => Self::Count { slot: SlotId(slot.0 + base) },
            Self::Branch { condition, taken } => Self::Branch { condition, taken: SlotId(taken.0 + base) },
        }
    }
}

/// How the kernel runs a probed instruction, which decides what a hit costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Instruction {
    /// nop, jmp, call, jcc, push: emulated, cheap.
    Emulated,
    /// Everything else that is legal: executed out of line under the trap flag, dear.
    SingleStepped,
}

/// An instruction that may carry a probe: an instruction start, decoded from a known function start,
/// in an executable segment, of a kind that the kernel accepts and the program survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its link address.
    pub addr: LinkAddr,
    /// Its place in the file: what the probe is registered with.
    pub offset: FileOffset,
    /// How the kernel will run it.
    pub instruction: Instruction,
    /// What a hit adds to.
    pub observe: Observe,
}

/// `coefficient × slot`, a part of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The counter.
    pub slot: SlotId,
    /// What it is multiplied with; negative where flow is subtracted.
    pub coefficient: i32,
}

/// How one executable line's numbers come from counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFormula {
    /// The source file.
    pub file: FileId,
    /// The line, from 1.
    pub line: u32,
    /// The count: the sum of these, not below 0. Empty where the plan's aim is [`Aim::Hits`].
    pub count: Vec<Term>,
    /// Whether all of the line can be observed; else the sum is less than the count, and what was not seen may have
    /// been executed all the same.
    pub exact: bool,
    /// The line was executed if any of these sums is above 0.
    pub seen: Vec<Vec<Term>>,
    /// Whether that is so, too, where counters have stopped that had counted something, and the spare sites were armed
    /// before.
    pub lasting: bool,
    /// Whether no thread can be more than once amid code that `count` subtracts in, so that while it is, `count` is off by
    /// a known number.
    pub steady: bool,
}

/// How often a function was entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionFormula {
    /// Its linkage name, mangled.
    pub name: String,
    /// Where it is declared.
    pub file: FileId,
    /// The declaration's line.
    pub line: u32,
    /// The entries: the sum of these, over all copies. Where the plan's aim is [`Aim::Hits`], it was entered if the
    /// sum is above 0.
    pub count: Vec<Term>,
    /// As of a [line](LineFormula::seen), where counters may stop; else empty.
    pub seen: Vec<Vec<Term>>,
    /// As of a [line](LineFormula::lasting).
    pub lasting: bool,
    /// As of a [line](LineFormula::steady).
    pub steady: bool,
}

/// How often a way out of a conditional jump was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayFormula {
    /// The source file.
    pub file: FileId,
    /// The line of the jump, from 1.
    pub line: u32,
    /// Tells differently compiled copies of the line apart: a hash of the lines that their jumps lead to.
    pub shape: u32,
    /// The jump's place among those of the line's copy, from 0.
    pub jump: u32,
    /// The way's place among those of the jump, from 0.
    pub number: u32,
    /// The line of the same file that it leads to; 0 where that is not known.
    pub to: u32,
    /// The sum of these, not below 0.
    pub count: Vec<Term>,
}

/// Why a line, or an address, cannot carry a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The row's address is not the start of an instruction.
    NotAnInstruction,
    /// The row's address lies outside every executable segment.
    NotExecutable,
    /// No function start is known from which to decode.
    NoFunction,
    /// The kernel refuses the instruction, or the program would not survive a probe on it.
    UnsafeInstruction,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnInstruction => "its address is not the start of an instruction",
            Self::NotExecutable => "its address is not in executable code",
            Self::NoFunction => "no function is known at its address",
            Self::UnsafeInstruction => "its only instructions cannot carry a probe",
        })
    }
}

/// A line with code that cannot be measured: not executed is not what this means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasurable {
    /// The source file.
    pub file: FileId,
    /// The line, from 1.
    pub line: u32,
    /// Why not.
    pub reason: Reason,
}

/// Where to probe one object, and what the counters then say. Every planner gives this type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbePlan {
    /// The object it was made for.
    pub object: ObjectId,
    /// What its counters tell.
    pub aim: Aim,
    /// The object's source files, as formulas name them.
    pub files: Vec<SourceFile>,
    /// The probes, by rising address, each address once.
    pub sites: Vec<Site>,
    /// Probes for when the counter of a conditional jump stops of which only one way was taken: they tell that the other
    /// is. None has an address that a site has.
    pub spare: Vec<Site>,
    /// How many counters the sites use, spare ones included.
    pub slots: u32,
    /// Executable lines by file and line, each once.
    pub lines: Vec<LineFormula>,
    /// Functions by file, line and name, each once.
    pub functions: Vec<FunctionFormula>,
    /// Ways out of conditional jumps, where they are asked for: by file, line, shape, jump and number.
    pub ways: Vec<WayFormula>,
    /// Lines that have code but no usable address, by file and line.
    pub unmeasurable: Vec<Unmeasurable>,
}
