//! A function of the test program itself, with probes at chosen instructions.
#![expect(unsafe_code, reason = "written in assembly, to know every instruction")]

use crate::object::{FileOffset, LinkAddr};
use crate::plan::{Condition, Instruction, Observe, Site, SlotId};
use std::fs::{self, File};

std::arch::global_asm!(
    ".pushsection .text.cov_fixture, \"ax\", @progbits",
    ".globl cov_fixture, cov_fixture_loop, cov_fixture_jump, cov_fixture_lock",
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
    ".popsection",
    options(att_syntax)
);

unsafe extern "C" {
    /// Goes `n` times round its loop; `n` is not 0.
    fn cov_fixture(n: u32);
    fn cov_fixture_loop();
    fn cov_fixture_jump();
    fn cov_fixture_lock();
}

/// Calls the function.
pub(super) fn call(n: u32) {
    assert_ne!(n, 0);
    // SAFETY: it only counts a register down.
    unsafe {
        cov_fixture(n);
    }
}

/// The file the function lies in.
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

/// Where in the file the byte at a runtime address of this process lies.
fn offset(address: u64) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            let file_offset = u64::from_str_radix(fields.nth(1)?, 16).unwrap();
            (start..end).contains(&address).then(|| address - start + file_offset)
        })
        .unwrap()
}
