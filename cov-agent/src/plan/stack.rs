//! Whether a function comes back to where it was called from, as far as its own instructions tell.

use super::code::Code;
use super::x86_64::{Callee, Flow, Stack};

/// The stack and frame pointers, relative to where the return address lies. `None`: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    stack: Option<i32>,
    frame: Option<i32>,
}

impl Frame {
    /// The stack is as it was when the function was called.
    fn is_home(self) -> bool {
        self.stack == Some(0)
    }

    /// What is true of both.
    fn and(self, other: Self) -> Self {
        Self {
            stack: self.stack.filter(|_| self.stack == other.stack),
            frame: self.frame.filter(|_| self.frame == other.frame),
        }
    }

    /// After an instruction. `None` where the return address is in its hands, or the stack another one.
    fn after(self, what: Stack) -> Option<Self> {
        let Self { stack, frame } = self;
        let plus = |at: Option<i32>, by: i32| at.and_then(|at| at.checked_add(by));
        Some(match what {
            Stack::Keeps | Stack::Returns => self,
            Stack::Moves(by) => Self { stack: plus(stack, by), frame },
            Stack::Frames(by) => Self { stack, frame: plus(stack, by) },
            Stack::Unframes(by) => Self { stack: plus(frame, by), frame },
            Stack::Leaves => Self { stack: plus(frame, 8), frame: None },
            Stack::PopsFrame => Self { stack: plus(stack, 8), frame: None },
            Stack::Grows => Self { stack: None, frame },
            Stack::DropsFrame => Self { stack, frame: None },
            Stack::Touches(by) if plus(stack, by) != Some(0) => self,
            Stack::TouchesFrame(by) if plus(frame, by) != Some(0) => self,
            Stack::Touches(_) | Stack::TouchesFrame(_) | Stack::Odd => return None,
        })
    }
}

/// What the functions that begin at `entries` call, or jump to with the stack as it was, sorted: if all of these come back,
/// so do they. `None` where they may not all the same: a way ends in a trap or an endless loop, is not known, or
/// leads to another stack.
pub(super) fn comes_back(code: &Code, entries: &[u64]) -> Option<Vec<Callee>> {
    let mut walk = Walk::new(code, entries, &|_| true);
    walk.run()?;
    walk.all_end().then(|| {
        walk.callees.sort_unstable();
        walk.callees.dedup();
        walk.callees
    })
}

/// Whether none of the functions that begin at `entries` ever comes back, if what they call does so only where `returns`
/// says. Who hands on his own return address, as `setjmp` and schedulers of coroutines do, may be come back for.
pub(super) fn never_comes_back(code: &Code, entries: &[u64], returns: &dyn Fn(Callee) -> bool) -> bool {
    let mut walk = Walk::new(code, entries, returns);
    walk.traps = true;
    !walk.open.is_empty() && walk.run().is_some() && walk.ends.is_empty()
}

struct Walk<'a> {
    code: &'a Code,
    /// Whether a call comes back.
    returns: &'a dyn Fn(Callee) -> bool,
    /// Whether a way may end in a trap.
    traps: bool,
    /// Before each instruction that control can reach.
    frames: Vec<Option<Frame>>,
    /// Target and source of each step.
    into: Vec<(usize, usize)>,
    /// Where the functions are left for good.
    ends: Vec<usize>,
    open: Vec<(usize, Frame)>,
    callees: Vec<Callee>,
}

impl<'a> Walk<'a> {
    fn new(code: &'a Code, entries: &[u64], returns: &'a dyn Fn(Callee) -> bool) -> Self {
        let begin = Frame { stack: Some(0), frame: None };
        let open = entries.iter().filter_map(|&addr| Some((code.at(addr)?, begin))).collect();
        let frames = vec![None; code.insns.len()];
        let (into, ends, callees) = (Vec::new(), Vec::new(), Vec::new());
        Self { code, returns, traps: false, frames, into, ends, open, callees }
    }

    fn run(&mut self) -> Option<()> {
        while let Some((at, frame)) = self.open.pop() {
            self.step(at, frame)?;
        }
        Some(())
    }

    /// Looks at one instruction, which control reaches with `frame`.
    fn step(&mut self, at: usize, frame: Frame) -> Option<()> {
        let (insn, known) = (self.code.insns.get(at)?, self.frames.get_mut(at)?);
        let first = known.is_none();
        let frame = known.map_or(frame, |known| known.and(frame));
        if known.replace(frame) == Some(frame) {
            return Some(());
        }
        let after = frame.after(insn.stack)?;
        match insn.flow {
            Flow::Next => self.go(at, insn.end(), after, first),
            Flow::Call { callee, .. } => {
                if first {
                    self.callees.push(callee);
                }
                if (self.returns)(callee) { self.go(at, insn.end(), after, first) } else { Some(()) }
            }
            Flow::Jump { target } => self.go(at, target, after, first),
            Flow::Branch { target, .. } => {
                self.go(at, target, after, first)?;
                self.go(at, insn.end(), after, first)
            }
            Flow::Indirect { slot } => {
                let targets = self.code.targets(insn.addr);
                // It may be a call of another function.
                if targets.is_empty() || after.is_home() {
                    self.end(at, after, slot.map_or(Callee::Unknown, Callee::Slot), first)?;
                }
                targets.iter().try_for_each(|&target| self.go(at, target, after, first))
            }
            Flow::Stop if insn.stack == Stack::Returns && after.is_home() => {
                self.ends.push(at);
                Some(())
            }
            Flow::Stop => (self.traps && insn.stack == Stack::Keeps).then_some(()),
        }
    }

    /// Control goes on at `to`.
    fn go(&mut self, at: usize, to: u64, frame: Frame, first: bool) -> Option<()> {
        let next = Some(at + 1).filter(|&n| self.code.insns.get(n).is_some_and(|i| i.addr == to));
        match next.or_else(|| self.code.at(to)) {
            Some(next) => {
                if first {
                    self.into.push((next, at));
                }
                self.open.push((next, frame));
                Some(())
            }
            None => self.end(at, frame, Callee::Direct(to), first),
        }
    }

    /// Control goes to another function, which returns in place of this one.
    fn end(&mut self, at: usize, frame: Frame, callee: Callee, first: bool) -> Option<()> {
        if !(self.returns)(callee) {
            return Some(());
        }
        if first {
            self.callees.push(callee);
            self.ends.push(at);
        }
        frame.is_home().then_some(())
    }

    /// Whether from everywhere the functions can be left.
    fn all_end(&mut self) -> bool {
        self.into.sort_unstable();
        let mut open = std::mem::take(&mut self.ends);
        while let Some(at) = open.pop() {
            if self.frames.get_mut(at).and_then(Option::take).is_some() {
                let from = self.into.partition_point(|&(to, _)| to < at);
                let sources = self.into.get(from..).unwrap_or_default().iter();
                open.extend(sources.take_while(|&&(to, _)| to == at).map(|&(_, from)| from));
            }
        }
        self.frames.iter().all(Option::is_none)
    }
}
