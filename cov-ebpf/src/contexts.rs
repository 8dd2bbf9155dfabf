//! Whose hit it was: the contexts that processes, threads and goroutines are in.
//!
//! `USERS` says how many are in a context. The agent takes a context's counters and gives its number
//! free only when nobody is left in it, so no hit can come to a counter that is being taken.

use crate::task::{self, Task};
use crate::{TRACKED, add, lose};
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, Queue, RingBuf};
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use cov_ebpf_common::{
    Config, ContextKey, EXECUTED_BYTES, Loss, MAX_CONTEXT_COUNTERS, MAX_CONTEXTS, MAX_UNITS, NEWS_BYTES, News,
    NewsKind, OVER, UnitKey,
};

#[btf_map]
static CONTEXT_COUNTERS: HashMap<ContextKey, u64, { MAX_CONTEXT_COUNTERS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static USERS: Array<u64, { MAX_CONTEXTS as usize }> = Array::new();

#[btf_map]
static FREE: Queue<u32, { MAX_CONTEXTS as usize }> = Queue::new();

#[btf_map]
pub static UNITS: HashMap<UnitKey, u32, { MAX_UNITS as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[btf_map]
pub static NEWS: RingBuf<News, { NEWS_BYTES as usize }> = RingBuf::new();

/// News of a program that is executed.
#[repr(C)]
struct Executed {
    news: News,
    bytes: [u8; EXECUTED_BYTES],
}

/// Whether hits are told apart by context.
#[inline(always)]
pub fn wanted() -> bool {
    task::contexts() & Config::CONTEXTS != 0
}

/// Counts a hit in `context`; whether there was room.
#[inline(always)]
pub fn count(context: u32, object: u32, slot: u32) -> bool {
    let key = ContextKey { context, object, slot };
    if let Some(counter) = CONTEXT_COUNTERS.get_ptr_mut(&key) {
        add(counter);
        return true;
    }
    if CONTEXT_COUNTERS.insert(&key, &1, BPF_NOEXIST.into()).is_ok() {
        return true;
    }
    // Another processor may have been faster.
    match CONTEXT_COUNTERS.get_ptr_mut(&key) {
        Some(counter) => {
            add(counter);
            true
        }
        None => {
            lose(Loss::Merged);
            false
        }
    }
}

/// The context that a hit in a process in the context `process_context` belongs to. `r14` is where Go's
/// code has the running goroutine.
#[inline(always)]
pub fn of_hit(process: u32, process_context: u32, r14: impl FnOnce() -> u64) -> u32 {
    if task::contexts() & Config::UNITS == 0 {
        return process_context;
    }
    if let Some(context) = unit(&thread(process)) {
        return if is_open(context) { context } else { process_context };
    }
    match unit(&UnitKey { process, kind: UnitKey::GOROUTINE, unit: r14() }) {
        Some(context) if is_open(context) => context,
        _ => process_context,
    }
}

/// The context that the running thread of a process in the context `process_context` is in.
#[inline(always)]
fn of_current(process: u32, process_context: u32) -> u32 {
    of_hit(process, process_context, || 0)
}

/// The running thread.
#[inline(always)]
pub fn thread(process: u32) -> UnitKey {
    UnitKey { process, kind: UnitKey::THREAD, unit: bpf_get_current_pid_tgid() & 0xffff_ffff }
}

/// The context that a unit was put into.
#[inline(always)]
pub fn unit(key: &UnitKey) -> Option<u32> {
    // SAFETY: whatever happens to the entry meanwhile, a number is read.
    unsafe { UNITS.get(key) }.copied()
}

/// Whether a context goes on.
#[inline(always)]
pub fn is_open(context: u32) -> bool {
    USERS.get(context).is_some_and(|users| *users & OVER == 0)
}

/// A new context, with one user.
#[inline(always)]
pub fn begin() -> Option<u32> {
    let Ok(Some(context)) = FREE.pop() else {
        lose(Loss::NoContext);
        return None;
    };
    enter(context);
    Some(context)
}

/// One more is in the context.
#[inline(always)]
pub fn enter(context: u32) {
    change(context, 1);
}

/// One less is in the context.
#[inline(always)]
pub fn leave(context: u32) {
    change(context, u64::MAX);
}

#[inline(always)]
pub fn change(context: u32, by: u64) {
    if context != 0
        && let Some(users) = USERS.get_ptr_mut(context)
    {
        // SAFETY: the pointer comes from a map lookup that found an aligned 64-bit element.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(users, by) };
    }
}

/// A process has executed a program: where that is wanted, a new context begins with it.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec(_: RawTracePointContext) {
    let Some(process) = task::current_process() else { return };
    let Some(tracked) = TRACKED.get_ptr_mut(&process) else { return };
    let contexts = task::contexts();
    if contexts & (Config::BY_ARGUMENTS | Config::BY_ENVIRONMENT) == 0 {
        return;
    }
    if contexts & Config::UNITS != 0 {
        // What told the test is gone with the program that told it.
        let key = UnitKey { process, kind: UnitKey::PROCESS, unit: 0 };
        if let Some(before) = unit(&key) {
            let _ = UNITS.remove(&key);
            leave(before);
        }
        let key = thread(process);
        if let Some(own) = unit(&key) {
            let _ = UNITS.remove(&key);
            leave(own);
        }
    }
    let Some(context) = begin() else { return };
    // SAFETY: the map has the number as long as the process is counted; nobody else changes it now, since the
    // process has this thread alone.
    let other = unsafe { core::ptr::replace(tracked, context) };
    // The context before goes on where others are in it.
    leave(other);
    let Some(mut entry) = NEWS.reserve_untyped::<Executed>(0) else {
        return lose(Loss::NoNews);
    };
    let executed = entry.as_mut_ptr();
    // SAFETY: the helper has no requirements.
    let area = Task(unsafe { bpf_get_current_task() }).area(contexts & Config::BY_ENVIRONMENT != 0);
    let (start, length) = area.unwrap_or_default();
    let wanted = if length > EXECUTED_BYTES as u64 { EXECUTED_BYTES as u64 } else { length };
    // SAFETY: the entry has room for what is written; the helper checks the addresses that it reads.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut (*executed).bytes).cast(), wanted as u32, start as *const core::ffi::c_void)
    };
    let length = if failed == 0 { length as u32 } else { 0 };
    let news = News { length, ..news(NewsKind::Executed, context, other, process) };
    // SAFETY: the entry has room for it.
    unsafe { (&raw mut (*executed).news).write(news) };
    entry.submit(0);
}

/// A task was made: one more is in the context of the running thread. Its number, for a new process.
#[inline(always)]
pub fn forked(process: u32, process_context: u32, child: Task) -> u32 {
    let context = of_current(process, process_context);
    if child.leads_process() {
        enter(context);
    } else if context != process_context
        && let Some(number) = child.number()
    {
        let key = UnitKey { process, kind: UnitKey::THREAD, unit: number.into() };
        if UNITS.insert(&key, &context, BPF_ANY.into()).is_ok() {
            enter(context);
        }
    }
    context
}

/// A thread of a counted process is ending, and the process with it if it is the last.
#[inline(always)]
pub fn ended(process: u32, process_context: u32, task: Task, last: bool) {
    let status = task.exit_code().unwrap_or(0);
    if task::contexts() & Config::UNITS != 0 {
        let key = thread(process);
        if let Some(context) = unit(&key) {
            let _ = UNITS.remove(&key);
            if is_open(context) {
                tell(News { status, ..news(NewsKind::Cut, context, process_context, process) });
            }
            leave(context);
        }
    }
    if last && task::contexts() & Config::UNITS != 0 {
        let key = UnitKey { process, kind: UnitKey::PROCESS, unit: 0 };
        if let Some(before) = unit(&key) {
            let _ = UNITS.remove(&key);
            leave(before);
        }
    }
    if last && process_context != 0 {
        tell(News { status, ..news(NewsKind::Ended, process_context, 0, process) });
        leave(process_context);
    }
}

#[inline(always)]
fn tell(news: News) {
    if NEWS.output(&news, 0).is_err() {
        lose(Loss::NoNews);
    }
}

#[inline(always)]
pub fn news(kind: NewsKind, context: u32, other: u32, process: u32) -> News {
    // SAFETY: the helpers have no requirements.
    let (time, cgroup) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id()) };
    let kind = kind as u32;
    News { kind, context, other, process, status: 0, mark: 0, length: 0, second: 0, time, cgroup, address: 0 }
}
