//! The kernel programs: they count hits of probes and keep the set of counted processes.
//!
//! A hit finds everything in the probe's cookie, so one program serves every object. Uprobe programs
//! can be preempted, so counters are added to atomically, also where each processor has its own.
#![no_std]
#![no_main]
// The BPF target has atomic additions, but the standard atomics ask for compare-and-swap too.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to an atomic addition on this target")]

mod contexts;
mod marks;
mod python;
mod request;
mod stops;
mod task;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap};
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_get_smp_processor_id};
use aya_ebpf::macros::{btf_map, raw_tracepoint, uprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use cov_ebpf_common::{Cookie, LOSS_KINDS, Loss, MAX_ENDED, MAX_OBJECTS, MAX_TRACKED, holds, index};
use task::Task;

/// One object's counters. The agent makes each map with the length it needs and maps it to read it.
type Counters = Array<u64, 8, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

#[btf_map]
static COUNTERS: ArrayOfMaps<Counters, { MAX_OBJECTS as usize }> = ArrayOfMaps::new();

#[btf_map]
static TRACKED: HashMap<u32, u32, { MAX_TRACKED as usize }> = HashMap::new();

#[btf_map]
static ENDED: LruHashMap<u32, u32, { MAX_ENDED as usize }> = LruHashMap::new();

#[btf_map]
static LOSSES: Array<u64, { LOSS_KINDS as usize }> = Array::new();

/// A probe was hit, on kernels with `uprobe.multi` (6.6).
#[uprobe(multi)]
fn hit_multi(ctx: ProbeContext) {
    hit_any(&ctx);
}

/// The same for a probe that is a perf event.
#[uprobe]
fn hit(ctx: ProbeContext) {
    hit_any(&ctx);
}

#[inline(always)]
fn hit_any(ctx: &ProbeContext) {
    let Some(process) = task::current_process() else { return };
    let Some(context) = tracked(process) else { return };
    // SAFETY: the context is the one this program was called with.
    let cookie = Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let mut slot = cookie.slot();
    if let Some(condition) = cookie.condition() {
        // SAFETY: the kernel lets a uprobe program read the registers it is called with.
        let eflags = unsafe { (*ctx.regs).eflags };
        if !holds(condition, eflags) {
            slot += 1;
        }
    }
    let told = count(ctx, process, context, cookie, slot);
    request::consider(ctx, cookie, process, context, told);
}

/// Counts a hit. Whether its context had room for it.
#[inline(always)]
fn count(ctx: &ProbeContext, process: u32, context: u32, cookie: Cookie, slot: u32) -> bool {
    let mut room = true;
    if contexts::wanted() {
        // SAFETY: the kernel lets a uprobe program read the registers it is called with.
        let r14 = || unsafe { core::ptr::read_volatile(&raw const (*ctx.regs).r14) };
        let context = contexts::of_hit(process, context, r14);
        if context != 0 {
            room = contexts::count(context, cookie.object(), slot);
            if room {
                return true;
            }
        }
    }
    // SAFETY: the helper has no requirements.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    match COUNTERS.get_value_ptr_mut(cookie.object(), &index(slot, cookie.stripes_log2(), cpu)) {
        Some(counter) => add(counter),
        None => lose(Loss::NoCounter),
    }
    room
}

/// A task was made: a new process of a counted one is counted before it runs.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn fork(ctx: RawTracePointContext) {
    let child = Task(ctx.arg(1));
    if !task::follow() || !(contexts::wanted() || child.leads_process()) {
        return;
    }
    let Some(process) = task::current_process() else { return };
    let Some(mut context) = tracked(process) else { return };
    if contexts::wanted() {
        context = contexts::forked(process, context, child);
        if !child.leads_process() {
            return;
        }
    }
    let Some(process) = child.process() else { return };
    if TRACKED.insert(&process, &context, BPF_ANY.into()).is_err() {
        if contexts::wanted() {
            contexts::leave(context);
        }
        lose(Loss::NoRoom);
    }
}

/// A task is ending: with the last of its process the process's number may be used again.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn exit(ctx: RawTracePointContext) {
    let Some(process) = task::current_process() else { return };
    let Some(context) = tracked(process) else { return };
    let task = Task(ctx.arg(0));
    let last = task.process_ended();
    if contexts::wanted() {
        contexts::ended(process, context, task, last);
    }
    if last {
        let _ = TRACKED.remove(&process);
        let _ = ENDED.insert(&process, &0, BPF_ANY.into());
        request::forget(process);
    }
}

/// The context that a counted process is in; `None` if it is not counted.
#[inline(always)]
fn tracked(process: u32) -> Option<u32> {
    // SAFETY: whatever happens to the entry meanwhile, a number is read.
    unsafe { TRACKED.get(&process) }.copied()
}

#[inline(always)]
fn add(counter: *mut u64) {
    add_many(counter, 1);
}

#[inline(always)]
fn add_many(counter: *mut u64, many: u64) {
    // SAFETY: the pointer comes from a map lookup that found an aligned 64-bit element, or lies in such a one.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, many) };
}

#[inline(always)]
fn lose(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        add(counter);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
