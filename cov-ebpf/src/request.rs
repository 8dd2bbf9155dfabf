//! Asking the agent to disarm. Where it wants no requests, the verifier drops all of this.

use crate::add_many;
use crate::task::config;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{HashMap, RingBuf};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::ProbeContext;
use cov_ebpf_common::{Ask, Cookie, MAX_TRACKED, REQUESTS_BYTES, Request, Spending};

#[btf_map]
static REQUESTS: RingBuf<Request, { REQUESTS_BYTES as usize }> = RingBuf::new();

#[btf_map]
static SPENDING: HashMap<u32, Spending, { MAX_TRACKED as usize }> = HashMap::new();

/// At a hit in a process in the context `context`: asks, if it is time. `told`: the hit was counted where it belongs.
#[inline(always)]
pub fn consider(ctx: &ProbeContext, cookie: Cookie, process: u32, context: u32, told: bool) {
    let ask = config!(ask);
    if ask == Ask::Never as u32 {
        return;
    }
    let over = if ask == Ask::OverLimit as u32 { pay(cookie, process) } else { None };
    if over.is_none() && !(told && cookie.is_once()) {
        return;
    }
    // SAFETY: the kernel lets a uprobe program read the registers it is called with.
    let address = unsafe { (*ctx.regs).rip };
    // SAFETY: the helper has no requirements.
    let time = unsafe { bpf_ktime_get_boot_ns() };
    let request = Request { address, cookie: cookie.0, process, context, time };
    if REQUESTS.output(&request, 0).is_ok()
        && let Some(spending) = over
    {
        // SAFETY: the pointer comes from a map lookup; others change what it leads to, so all access is whole words. The
        // agent sets another limit when it has read the request.
        unsafe { (&raw mut (*spending).limit).write_volatile(u64::MAX) };
    }
}

/// Adds the price of a hit to what the process has spent. Gives that if it is too much.
#[inline(always)]
fn pay(cookie: Cookie, process: u32) -> Option<*mut Spending> {
    let price = if cookie.is_stepped() { config!(stepped_ns) } else { config!(emulated_ns) };
    let Some(spending) = SPENDING.get_ptr_mut(&process) else {
        let first = Spending { spent: u64::from(price), limit: u64::from(config!(grace_us)) * 1000 };
        let _ = SPENDING.insert(&process, &first, BPF_NOEXIST.into());
        return None;
    };
    // SAFETY: as above.
    let (spent, limit) = unsafe {
        add_many(&raw mut (*spending).spent, u64::from(price));
        ((&raw const (*spending).spent).read_volatile(), (&raw const (*spending).limit).read_volatile())
    };
    (spent >= limit).then_some(spending)
}

/// A process has ended.
#[inline(always)]
pub fn forget(process: u32) {
    if config!(ask) == Ask::OverLimit as u32 {
        let _ = SPENDING.remove(&process);
    }
}
