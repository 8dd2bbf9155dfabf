//! What instructions do to the stack pointer and to the return address.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What an instruction does to the stack, as far as it matters for whether the function returns to where it was
/// called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Stack {
    /// Nothing.
    Keeps,
    /// Adds to the stack pointer.
    Moves(i32),
    /// Makes the frame pointer the stack pointer and something.
    Frames(i32),
    /// Makes the stack pointer the frame pointer and something.
    Unframes(i32),
    /// `leave`: the stack pointer is what it was before the frame pointer was pushed.
    Leaves,
    /// Takes the frame pointer from the stack.
    PopsFrame,
    /// Makes the frame larger by nobody knows how much.
    Grows,
    /// Gives the frame pointer another value.
    DropsFrame,
    /// Reads or writes memory at the stack pointer and something.
    Touches(i32),
    /// The same at the frame pointer.
    TouchesFrame(i32),
    /// Returns to the address that the stack pointer points to.
    Returns,
    /// Changes to another stack, returns otherwise, or waits for another thread.
    Odd,
}

/// What `insn` does.
pub(super) fn stack(insn: &Instruction) -> Stack {
    let register = |op: u32| match insn.op_kind(op) {
        OpKind::Register => insn.op_register(op).full_register(),
        _ => Register::None,
    };
    let (first, second) = (register(0), register(1));
    match insn.mnemonic() {
        Mnemonic::Ret if insn.op_count() == 0 => return Stack::Returns,
        Mnemonic::Leave => return Stack::Leaves,
        Mnemonic::Enter | Mnemonic::Pause | Mnemonic::Retf | Mnemonic::Iretq => return Stack::Odd,
        Mnemonic::Ret | Mnemonic::Xbegin => return Stack::Odd,
        Mnemonic::Pop if first == Register::RSP => return Stack::Odd,
        Mnemonic::Pop if first == Register::RBP => return Stack::PopsFrame,
        Mnemonic::Push | Mnemonic::Pop | Mnemonic::Pushfq | Mnemonic::Popfq => {
            let through_stack = insn.op_count() > 0 && insn.op_kind(0) == OpKind::Memory && base(insn).is_some();
            return if through_stack { Stack::Odd } else { Stack::Moves(insn.stack_pointer_increment()) };
        }
        _ => {}
    }
    if insn.flow_control() != FlowControl::Next {
        return Stack::Keeps;
    }
    let reads_only = matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
    if second == Register::RSP && matches!(insn.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd | Mnemonic::Cmpxchg) {
        return Stack::Odd;
    }
    if first == Register::RSP && !reads_only {
        return to_stack_pointer(insn, second);
    }
    if first == Register::RBP && !reads_only {
        return match (insn.mnemonic(), second) {
            (Mnemonic::Mov, Register::RSP) => Stack::Frames(0),
            (Mnemonic::Lea, _) if base(insn) == Some(Register::RSP) => {
                displacement(insn).map_or(Stack::DropsFrame, Stack::Frames)
            }
            _ => Stack::DropsFrame,
        };
    }
    if second == Register::RBP && matches!(insn.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd) {
        return Stack::DropsFrame;
    }
    let memory = (0..insn.op_count()).any(|op| insn.op_kind(op) == OpKind::Memory) && insn.mnemonic() != Mnemonic::Lea;
    match (base(insn).filter(|_| memory), displacement(insn)) {
        (Some(Register::RSP), Some(at)) => Stack::Touches(at),
        (Some(Register::RBP), Some(at)) => Stack::TouchesFrame(at),
        _ => Stack::Keeps,
    }
}

/// The stack or frame pointer, where the address of the memory operand is that and a number.
fn base(insn: &Instruction) -> Option<Register> {
    let base = insn.memory_base().full_register();
    (matches!(base, Register::RSP | Register::RBP) && insn.memory_index() == Register::None).then_some(base)
}

fn displacement(insn: &Instruction) -> Option<i32> {
    i32::try_from(insn.memory_displacement64().cast_signed()).ok()
}

/// An instruction that writes the stack pointer.
fn to_stack_pointer(insn: &Instruction, source: Register) -> Stack {
    let is_immediate = matches!(insn.op_kind(1), OpKind::Immediate8to64 | OpKind::Immediate32to64);
    let immediate = || i32::try_from(insn.immediate(1).cast_signed()).ok();
    match insn.mnemonic() {
        Mnemonic::Add if is_immediate => immediate().map_or(Stack::Odd, Stack::Moves),
        Mnemonic::Sub if is_immediate => immediate().and_then(i32::checked_neg).map_or(Stack::Odd, Stack::Moves),
        Mnemonic::Sub | Mnemonic::And => Stack::Grows,
        // A page of a large frame is touched.
        Mnemonic::Or if is_immediate && immediate() == Some(0) => Stack::Keeps,
        Mnemonic::Mov if source == Register::RBP => Stack::Unframes(0),
        Mnemonic::Lea => match (base(insn), displacement(insn)) {
            (Some(Register::RSP), Some(by)) => Stack::Moves(by),
            (Some(_), Some(by)) => Stack::Unframes(by),
            _ => Stack::Odd,
        },
        _ => Stack::Odd,
    }
}
