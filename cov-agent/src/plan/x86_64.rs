//! x86-64: all that planning knows of the machine. Decoding, control flow, and what the kernel makes
//! of a probe on an instruction.
//!
//! Legality follows `arch/x86/kernel/uprobes.c` (`uprobe_init_insn`, `branch_setup_xol_ops`,
//! `push_setup_xol_ops`) of Linux 3.16 to 7.0, and is stricter where the kernel accepts what the program would
//! not survive.

mod stack;
#[cfg(test)]
mod tests;

pub(super) use stack::Stack;

use super::types::{Condition, Instruction};
use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

/// How many bytes an instruction has at most.
pub(super) const LONGEST: usize = 15;

/// One decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    /// Its link address.
    pub(super) addr: u64,
    /// Its length in bytes.
    pub(super) len: u8,
    /// What it does to control.
    pub(super) flow: Flow,
    /// What a probe on it would cost; `None` where there must be none.
    pub(super) probe: Option<Instruction>,
    /// What it does to the stack.
    pub(super) stack: Stack,
}

impl Insn {
    /// The address after it.
    pub(super) fn end(&self) -> u64 {
        self.addr.wrapping_add(u64::from(self.len))
    }
}

/// What an instruction does to control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Goes on to the next instruction.
    Next,
    /// Calls, and perhaps comes back; system calls too.
    Call {
        /// What it calls.
        callee: Callee,
        /// Whether it comes back, as far as is known.
        returns: Returns,
    },
    /// Jumps to `target`.
    Jump {
        /// A link address.
        target: u64,
    },
    /// Jumps to `target` or goes on.
    Branch {
        /// A link address.
        target: u64,
        /// Which flags decide; `None` where something else does (`loop`, `jrcxz`).
        condition: Option<Condition>,
    },
    /// Jumps to a computed address.
    Indirect {
        /// Where the address stands, if that is a fixed place, as in PLT entries and tail calls of imports.
        slot: Option<u64>,
    },
    /// Never goes on here: a return, or a trap.
    Stop,
}

/// Whether a call comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Returns {
    /// It may not, or more than once.
    #[default]
    Perhaps,
    /// Exactly once.
    Surely,
    /// Not to where it was made.
    Never,
}

/// What a call calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    /// The function at this address.
    Direct(u64),
    /// The function whose address stands at this address.
    Slot(u64),
    /// Nobody knows.
    Unknown,
}

/// An address that an instruction mentions without jumping to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention {
    /// It loads the address (`lea`, `mov $imm`): of data, of a jump table, of a label.
    Address(u64),
    /// It reads an element of the table at the address.
    Table(u64),
}

impl Mention {
    /// The link address that is mentioned.
    pub(super) fn address(self) -> u64 {
        match self {
            Self::Address(addr) | Self::Table(addr) => addr,
        }
    }
}

/// Decodes the instruction that begins `bytes` and lies at `addr`. `None`: there is none.
pub(super) fn decode(bytes: &[u8], addr: u64) -> Option<(Insn, Option<Mention>)> {
    let mut decoder = Decoder::with_ip(64, bytes, addr, DecoderOptions::NONE);
    if !decoder.can_decode() {
        return None;
    }
    let insn = decoder.decode();
    if insn.is_invalid() {
        return None;
    }
    let raw = bytes.get(..insn.len())?;
    let probe = price(&insn, raw);
    let decoded = Insn {
        addr,
        len: u8::try_from(insn.len()).ok()?,
        flow: flow(&insn, raw, probe),
        probe,
        stack: stack::stack(&insn),
    };
    Some((decoded, mention(&insn)))
}

/// Whether an instruction at which control [stops](Flow::Stop) returns to the caller: `ret`, `ret n`, `rep ret`.
pub(super) fn is_return(raw: &[u8]) -> bool {
    matches!(raw, [0xc3 | 0xc2 | 0xf3, ..])
}

/// How many bytes a call has at most that names what it calls: `call *slot(%rip)`.
pub(super) const LONGEST_CALL: u64 = 6;

/// The call that ends where `code` does, at the address `end`: its own address, and what it calls. Only such as name what
/// they call.
pub(super) fn call_before(code: &[u8], end: u64) -> Option<(u64, Callee)> {
    // `call rel32`, `call *slot(%rip)`.
    [5, 6].into_iter().find_map(|len| {
        let addr = end.checked_sub(len as u64)?;
        let (insn, _) = decode(code.get(code.len().checked_sub(len)?..)?, addr)?;
        match insn.flow {
            Flow::Call { callee, .. } if insn.end() == end && callee != Callee::Unknown => Some((addr, callee)),
            _ => None,
        }
    })
}

fn flow(insn: &iced_x86::Instruction, raw: &[u8], probe: Option<Instruction>) -> Flow {
    let near = matches!(insn.op0_kind(), OpKind::NearBranch64);
    let call = |callee| Flow::Call { callee, returns: Returns::Perhaps };
    match insn.flow_control() {
        FlowControl::Next if insn.mnemonic() == Mnemonic::Hlt => Flow::Stop,
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch if near => Flow::Jump { target: insn.near_branch64() },
        FlowControl::ConditionalBranch if near => {
            let condition = insn.is_jcc_short_or_near() && probe.is_some();
            let opcode = Opcode::of(raw);
            let code = opcode.second.unwrap_or(opcode.first) & 0xf;
            Flow::Branch { target: insn.near_branch64(), condition: condition.then_some(Condition(code)) }
        }
        FlowControl::IndirectBranch => Flow::Indirect { slot: slot(insn) },
        FlowControl::Call if near => call(Callee::Direct(insn.near_branch64())),
        FlowControl::IndirectCall => call(slot(insn).map_or(Callee::Unknown, Callee::Slot)),
        // System calls and debugger traps come back, or not, or twice (fork), as calls do.
        FlowControl::Call | FlowControl::Interrupt => call(Callee::Unknown),
        FlowControl::XbeginXabortXend if insn.mnemonic() == Mnemonic::Xbegin => {
            Flow::Branch { target: insn.near_branch64(), condition: None }
        }
        FlowControl::XbeginXabortXend => Flow::Next,
        FlowControl::Return
        | FlowControl::Exception
        | FlowControl::UnconditionalBranch
        | FlowControl::ConditionalBranch => Flow::Stop,
    }
}

/// The fixed address that an indirect jump or call reads its target from.
fn slot(insn: &iced_x86::Instruction) -> Option<u64> {
    let fixed = insn.op0_kind() == OpKind::Memory && insn.memory_index() == Register::None;
    match insn.memory_base() {
        Register::RIP if fixed => Some(insn.ip_rel_memory_address()),
        Register::None if fixed && insn.segment_prefix() == Register::None => Some(insn.memory_displacement64()),
        _ => None,
    }
}

fn mention(insn: &iced_x86::Instruction) -> Option<Mention> {
    if insn.mnemonic() == Mnemonic::Lea && insn.is_ip_rel_memory_operand() {
        return Some(Mention::Address(insn.ip_rel_memory_address()));
    }
    match insn.code() {
        Code::Mov_r64_imm64 | Code::Mov_r32_imm32 | Code::Mov_rm64_imm32 => {
            let value = insn.immediate(1);
            return (value != 0).then_some(Mention::Address(value));
        }
        _ => {}
    }
    let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let table = memory
        && insn.memory_base() == Register::None
        && insn.memory_index() != Register::None
        && insn.memory_index_scale() >= 4
        && insn.memory_displacement64() != 0;
    table.then(|| Mention::Table(insn.memory_displacement64()))
}

/// How many instructions after the one that loads an address are searched for a use of it.
const USES: usize = 16;

/// Whether the instruction that begins `code` and lies at `addr` loads an address that the instructions after it
/// read from: it is the address of data then, wherever it lies.
pub(super) fn reads_from(code: &[u8], addr: u64) -> bool {
    let mut decoder = Decoder::with_ip(64, code, addr, DecoderOptions::NONE);
    let loaded = if decoder.can_decode() { decoder.decode() } else { return false };
    if loaded.op0_kind() != OpKind::Register {
        return false;
    }
    let register = loaded.op0_register().full_register();
    let mut info = InstructionInfoFactory::new();
    for insn in decoder.iter().take(USES) {
        if insn.is_invalid() {
            return false;
        }
        let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
        let through = [insn.memory_base(), insn.memory_index()].iter().any(|r| r.full_register() == register);
        if memory && through && insn.mnemonic() != Mnemonic::Lea {
            return true;
        }
        let writes = |access| matches!(access, OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite);
        let used = info.info(&insn).used_registers();
        if used.iter().any(|u| u.register().full_register() == register && writes(u.access()))
            || insn.flow_control() != FlowControl::Next
        {
            return false;
        }
    }
    false
}

/// An instruction's prefixes and opcode.
#[derive(Default)]
struct Opcode {
    /// CS, DS, ES or SS segment (`notrack` is DS), or LOCK: the kernel refuses them. Address size, too:
    /// the kernel's rewriting of rip-relative operands does not know it.
    refused: bool,
    operand_size: bool,
    repeat: bool,
    rex: u8,
    first: u8,
    /// The byte after 0x0f.
    second: Option<u8>,
    /// The byte after the opcode; 0 where there is none.
    modrm: u8,
}

impl Opcode {
    fn of(raw: &[u8]) -> Self {
        let mut opcode = Self::default();
        let mut bytes = raw.iter().copied();
        for byte in bytes.by_ref() {
            match byte {
                0x26 | 0x2e | 0x36 | 0x3e | 0xf0 | 0x67 => opcode.refused = true,
                0x66 => opcode.operand_size = true,
                0xf2 | 0xf3 => opcode.repeat = true,
                0x64 | 0x65 => {}
                0x40..=0x4f => opcode.rex = byte,
                _ => {
                    opcode.first = byte;
                    break;
                }
            }
        }
        if opcode.first == 0x0f {
            opcode.second = bytes.next();
        }
        opcode.modrm = bytes.next().unwrap_or_default();
        opcode
    }
}

/// How the kernel runs the instruction under a probe; `None` where it refuses one or where the
/// program would not survive it.
fn price(insn: &iced_x86::Instruction, raw: &[u8]) -> Option<Instruction> {
    // The kernel takes the opcode byte of a VEX instruction for one of the one-byte map: `vpor` passes
    // for `jmp`, `vpcmpeqb` for `je`, and is not executed. EVEX and XOP it refuses.
    if insn.encoding() != EncodingKind::Legacy {
        return None;
    }
    let opcode = Opcode::of(raw);
    if opcode.refused || refused(&opcode) {
        return None;
    }
    match (opcode.first, opcode.second) {
        // Branches: emulated; a 16-bit operand size is refused.
        (0xe8 | 0xe9 | 0xeb | 0x70..=0x7f, _) | (0x0f, Some(0x80..=0x8f)) => {
            (!opcode.operand_size).then_some(Instruction::Emulated)
        }
        (0x50..=0x57, _) if raw.len() == 1 || (raw.len() == 2 && opcode.rex == 0x41) => Some(Instruction::Emulated),
        // The kernel takes every prefixed 0x90 for a nop, also `xchg %r8,%rax`. A 5-byte nop it replaces
        // by a call, which overwrites the red zone.
        (0x90, _) if opcode.rex & 1 != 0 || raw.len() == 5 => None,
        (0x90, _) if !opcode.repeat => Some(Instruction::Emulated),
        (0x0f, Some(0x18..=0x1f)) if raw.len() == 5 => None,
        _ => Some(Instruction::SingleStepped),
    }
}

/// Opcodes that the kernel refuses, or that do something else under the trap flag.
fn refused(opcode: &Opcode) -> bool {
    let register_operand = opcode.modrm >= 0xc0;
    let extension = (opcode.modrm >> 3) & 7;
    match (opcode.first, opcode.second) {
        // String instructions count one hit an iteration under `rep`; in and out are for the kernel.
        (0xa4..=0xa7 | 0xaa..=0xaf, _) => opcode.repeat,
        (0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef, _) => true,
        // Traps, far transfers, privileged ones, and what is not there in 64-bit mode.
        (0xca | 0xcb | 0xcc..=0xcf | 0xf1 | 0xf4 | 0xfa | 0xfb, _) => true,
        (0x06 | 0x07 | 0x0e | 0x16 | 0x17 | 0x1e | 0x1f | 0x27 | 0x2f | 0x37 | 0x3f, _) => true,
        (0x60..=0x62 | 0x82 | 0x9a | 0xc4 | 0xc5 | 0xd4..=0xd6 | 0xea, _) => true,
        // They read or write the trap flag, or hold back traps: pushf, popf, mov to a segment register.
        (0x9c | 0x9d | 0x8e, _) => true,
        // A trap aborts a transaction: xbegin, xabort.
        (0xc6 | 0xc7, _) => register_operand && extension == 7,
        // Far call, far jump, nothing.
        (0xff, _) => matches!(extension, 3 | 5 | 7),
        // The two-byte opcodes of `good_2byte_insns` (syscall, sysenter, ud2, fences and xsave among
        // them), those that older kernels refuse, and privileged ones.
        (0x0f, Some(second)) => matches!(
            second,
            0x00 | 0x01 | 0x04..=0x0c | 0x0e | 0x0f | 0x20..=0x27 | 0x30 | 0x32 | 0x34..=0x37 | 0x78 | 0x79
                | 0xa6 | 0xa7 | 0xaa | 0xae | 0xb9 | 0xff
        ),
        (0x0f, None) => true,
        _ => false,
    }
}
