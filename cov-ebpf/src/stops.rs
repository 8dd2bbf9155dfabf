//! Where signals end threads: a piece of code that was entered there is not left.

use crate::{add, lose, task, tracked};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_F_USER_BUILD_ID, BPF_F_USER_STACK, BPF_NOEXIST, pt_regs};
use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_get_stack, bpf_task_pt_regs};
use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;
use cov_ebpf_common::{Loss, MAX_STOPS, STOP_FRAMES, Stop, StopFrame};

#[btf_map]
static STOPS: HashMap<Stop, u64, { MAX_STOPS as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where a [`Stop`] is put together: it is too large for the stack. A program is not run amid itself on one processor.
#[btf_map]
static STOP: PerCpuArray<Stop, 1> = PerCpuArray::new();

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
/// SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG and SIGWINCH: without a handler they end nobody.
const HARMLESS: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 28;

/// Where a `kernel_siginfo` has `si_code`.
const SI_CODE: u64 = 8;

/// A signal reaches a thread; SIGKILL, too, each of those that end with their process.
#[raw_tracepoint(tracepoint = "signal_deliver")]
fn signal(ctx: RawTracePointContext) {
    let Some(process) = task::current_process() else { return };
    if tracked(process).is_none() {
        return;
    }
    let signal = ctx.arg::<u64>(0) as i32;
    let (info, action): (u64, u64) = (ctx.arg(1), ctx.arg(2));
    // SAFETY: the helper checks the address; the handler is the first member of `k_sigaction`.
    let handler = unsafe { bpf_probe_read_kernel(action as *const u64) }.unwrap_or(u64::MAX);
    let ends = signal == SIGKILL || (handler == 0 && HARMLESS >> (signal as u64 & 63) & 1 == 0);
    if !ends {
        return;
    }
    let (stack_pointer, in_system_call) = registers();
    if in_system_call {
        return;
    }
    let Some(stop) = STOP.get_ptr_mut(0) else { return };
    // SAFETY: the kernel fills the whole array, or fails.
    let got = unsafe {
        let frames = (&raw mut (*stop).frames).cast();
        let bytes = (STOP_FRAMES * size_of::<StopFrame>()) as u32;
        bpf_get_stack(ctx.as_ptr(), frames, bytes, u64::from(BPF_F_USER_STACK | BPF_F_USER_BUILD_ID))
    };
    if got <= 0 {
        return lose(Loss::NoStop);
    }
    // SAFETY: the element belongs to this processor.
    let stop = unsafe {
        (*stop).fault = u64::from(is_fault(signal, info));
        (*stop).top = top(&ctx, stack_pointer, [&(*stop).frames[0], &(*stop).frames[1]]);
        &*stop
    };
    if let Some(count) = STOPS.get_ptr_mut(stop) {
        return add(count);
    }
    if STOPS.insert(stop, &1, BPF_NOEXIST.into()).is_err() {
        // Another processor may have been faster.
        match STOPS.get_ptr_mut(stop) {
            Some(count) => add(count),
            None => lose(Loss::NoStop),
        }
    }
}

/// The thread's stack pointer, and whether it is in a system call: whatever led there need not come back, and nothing was
/// concluded from that.
#[inline(always)]
fn registers() -> (u64, bool) {
    // SAFETY: the running task has registers, of which the verifier lets any be read.
    unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs;
        let number = core::ptr::read_volatile(&raw const (*regs).orig_rax);
        (core::ptr::read_volatile(&raw const (*regs).rsp), number as i64 >= 0)
    }
}

/// See [`Stop::top`].
#[inline(always)]
fn top(ctx: &RawTracePointContext, stack_pointer: u64, frames: [&StopFrame; 2]) -> [u64; 2] {
    let mut addresses = [0u64; 2];
    // SAFETY: the kernel fills the whole array, or fails; the other helper checks the address.
    let (got, word) = unsafe {
        let got = bpf_get_stack(ctx.as_ptr(), (&raw mut addresses).cast(), 16, u64::from(BPF_F_USER_STACK));
        (got, bpf_probe_read_user(stack_pointer as *const u64))
    };
    let (Ok(word), true) = (word, got >= 8) else { return [0; 2] };
    let place = |frame: &StopFrame, address: u64| {
        let distance = word.wrapping_sub(address) as i64;
        let near = address != 0 && distance == i64::from(distance as i32);
        if near && frame.status == StopFrame::KNOWN { frame.offset.wrapping_add(distance as u64) } else { 0 }
    };
    [place(frames[0], addresses[0]), place(frames[1], addresses[1])]
}

/// Whether the kernel sends the signal since an instruction failed.
#[inline(always)]
fn is_fault(signal: i32, info: u64) -> bool {
    if !matches!(signal, SIGILL | SIGTRAP | SIGBUS | SIGFPE | SIGSEGV) {
        return false;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((info + SI_CODE) as *const i32) }.is_ok_and(|code| code > 0)
}
