//! Functions of the test program itself, with probes at chosen instructions.
#![expect(unsafe_code, reason = "written in assembly, to know every instruction")]

use crate::object::{FileOffset, LinkAddr};
use crate::plan::{Condition, Instruction, Observe, Site, SlotId};
use std::fs::File;

std::arch::global_asm!(
    ".pushsection .text.cov_fixture, \"ax\", @progbits",
    ".globl cov_fixture, cov_fixture_loop, cov_fixture_jump, cov_fixture_lock, cov_fixture_conditions",
    ".globl cov_fixture_sled",
    "cov_fixture:",
    "    nop",
    "cov_fixture_loop:",
    "    sub $1, %edi",
    "cov_fixture_jump:",
    "    jnz cov_fixture_loop",
    "    ret",
    "cov_fixture_lock:",
    "    lock incl (%rsp)",
    "    ret",
    // Each conditional jump goes to the next instruction, which leaves the flags as they were.
    "cov_fixture_conditions:",
    "    push %rdi",
    "    popfq",
    ".irp condition, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g",
    "    set\\condition (%rsi)",
    "    lea 1(%rsi), %rsi",
    "    j\\condition 1f",
    "1:",
    ".endr",
    "    cld",
    "    ret",
    "cov_fixture_sled:",
    ".rept 6000",
    "    nop",
    ".endr",
    "    ret",
    ".popsection",
    options(att_syntax)
);

unsafe extern "C" {
    fn cov_fixture(n: u32);
    fn cov_fixture_loop();
    fn cov_fixture_jump();
    fn cov_fixture_lock();
    fn cov_fixture_conditions(flags: u64, outcomes: *mut [u8; 16]);
    fn cov_fixture_sled();
}

/// Goes `n` times round the loop; async-signal-safe.
pub(super) fn call(n: u32) {
    assert_ne!(n, 0);
    // SAFETY: it only counts a register down.
    unsafe {
        cov_fixture(n);
    }
}

/// Lets the processor judge all conditions under `flags` (which of them can be set by a program):
/// 1 where a conditional jump jumps. Each of the jumps is executed once.
pub(super) fn judge(flags: u64) -> [u8; 16] {
    let mut outcomes = [2; 16];
    // SAFETY: it sets flags that every function may leave in any state, and writes 16 bytes.
    unsafe {
        cov_fixture_conditions(flags, &raw mut outcomes);
    }
    outcomes
}

/// Executes all instructions of [`sled`] once.
pub(super) fn slide() {
    // SAFETY: it does nothing.
    unsafe {
        cov_fixture_sled();
    }
}

/// The file the functions lie in.
pub(super) fn file() -> File {
    File::open("/proc/self/exe").unwrap()
}

pub(super) fn entry() -> u64 {
    offset(cov_fixture as *const () as u64)
}

pub(super) fn loop_head() -> u64 {
    offset(cov_fixture_loop as *const () as u64)
}

pub(super) fn jump() -> u64 {
    offset(cov_fixture_jump as *const () as u64)
}

/// An instruction that the kernel refuses.
pub(super) fn locked() -> u64 {
    offset(cov_fixture_lock as *const () as u64)
}

/// The conditional jumps, with slots `2n` and `2n + 1` for condition `n`.
pub(super) fn conditions() -> Vec<Site> {
    // push (1 byte), popfq (1); then for each setcc (3), lea (4), jcc (2).
    let first = offset(cov_fixture_conditions as *const () as u64) + 2;
    (0u8..16)
        .map(|n| {
            let taken = SlotId(u32::from(n) * 2);
            site(first + u64::from(n) * 9 + 7, Observe::Branch { condition: Condition(n), taken })
        })
        .collect()
}

/// 6000 instructions in a row, slot n for the n-th.
pub(super) fn sled() -> Vec<Site> {
    let first = offset(cov_fixture_sled as *const () as u64);
    (0..6000).map(|n| site(first + u64::from(n), Observe::Count { slot: SlotId(n) })).collect()
}

/// Slot 0 the entry, 1 the loop, 2 and 3 the jump.
pub(super) const SLOTS: u32 = 4;

pub(super) fn sites() -> Vec<Site> {
    vec![
        site(entry(), Observe::Count { slot: SlotId(0) }),
        site(loop_head(), Observe::Count { slot: SlotId(1) }),
        site(jump(), Observe::Branch { condition: Condition(5), taken: SlotId(2) }),
    ]
}

/// The counters of [`sites`] after the function was called with each of `calls`.
pub(super) fn expected(calls: &[u64]) -> Vec<u64> {
    let (calls, rounds) = (calls.len() as u64, calls.iter().sum::<u64>());
    vec![calls, rounds, rounds - calls, calls]
}

pub(super) fn site(offset: u64, observe: Observe) -> Site {
    Site { addr: LinkAddr(offset), offset: FileOffset(offset), instruction: Instruction::SingleStepped, observe }
}

fn offset(address: u64) -> u64 {
    crate::probe::prices::own_offset(address).unwrap()
}
