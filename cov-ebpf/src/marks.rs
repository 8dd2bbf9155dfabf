//! Marks: instructions of test frameworks at which a context begins or ends.

use crate::contexts::{self, UNITS, begin, change, is_open, leave, news, thread, unit};
use crate::{TRACKED, lose, task};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_get_attach_cookie;
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use core::ffi::c_void;
use cov_ebpf_common::{Act, ENTERED_BYTES, Layout, Loss, Mark, News, NewsKind, OVER, Register, UnitKey, VARIABLES};

/// News of a mark.
#[repr(C)]
struct Entered {
    news: News,
    bytes: [u8; ENTERED_BYTES],
}

/// The registers that matter. All are read at once: the verifier allows only places that are known beforehand.
struct Registers {
    rdi: u64,
    rsi: u64,
    rax: u64,
    rbx: u64,
    r14: u64,
    rip: u64,
}

impl Registers {
    #[inline(always)]
    fn of(ctx: &ProbeContext) -> Self {
        macro_rules! read {
            ($($name:ident)*) => {
                // SAFETY: the kernel lets a uprobe program read the registers it is called with.
                Self { $($name: unsafe { core::ptr::read_volatile(&raw const (*ctx.regs).$name) }),* }
            };
        }
        read!(rdi rsi rax rbx r14 rip)
    }
}

/// Half of what can be told of a name.
const HALF: usize = ENTERED_BYTES / 2;

/// A mark was reached, on kernels with `uprobe.multi`.
#[uprobe(multi)]
fn mark_multi(ctx: ProbeContext) {
    mark_any(&ctx);
}

/// The same for a probe that is a perf event.
#[uprobe]
fn mark(ctx: ProbeContext) {
    mark_any(&ctx);
}

#[inline(always)]
fn mark_any(ctx: &ProbeContext) {
    let Some(process) = task::current_process() else { return };
    let Some(context) = crate::tracked(process) else { return };
    // SAFETY: the context is the one this program was called with.
    let mark = Mark(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let regs = Registers::of(ctx);
    let regs = &regs;
    let act = mark.act();
    if act == Act::Enter as u8 {
        let key = key(process, mark, regs);
        // A marker with no name says that nothing is told apart any more.
        if mark.layout() == Layout::Characters as u8 && regs.rdi == 0 {
            end(&key);
        } else {
            enter(&key, context, mark, regs);
        }
    } else if act == Act::Leave as u8 {
        end(&key(process, mark, regs));
    } else if act == Act::SetVariable as u8 {
        if is_variable(regs.rdi) {
            enter_process(process, context, mark, regs);
        }
    } else if act == Act::UnsetVariable as u8 {
        if is_variable(regs.rdi) {
            leave_process(process);
        }
    } else if act == Act::Spawn as u8 {
        // The goroutine that asks is the second argument; what comes of it is told when this thread is done.
        let asks = UnitKey { process, kind: UnitKey::GOROUTINE, unit: regs.rbx };
        let made = UnitKey { kind: UnitKey::SPAWNING, ..thread(process) };
        match unit(&asks).filter(|context| is_open(*context)) {
            Some(context) => drop(UNITS.insert(&made, &context, BPF_ANY.into())),
            None => drop(UNITS.remove(&made)),
        }
    } else if act == Act::Spawned as u8 {
        let made = UnitKey { kind: UnitKey::SPAWNING, ..thread(process) };
        let context = unit(&made);
        let new = UnitKey { process, kind: UnitKey::GOROUTINE, unit: regs.rax };
        drop_unit(&new);
        if let Some(context) = context {
            let _ = UNITS.remove(&made);
            if UNITS.insert(&new, &context, BPF_ANY.into()).is_ok() {
                contexts::enter(context);
            }
        }
    } else if act == Act::Gone as u8 {
        drop_unit(&UnitKey { process, kind: UnitKey::GOROUTINE, unit: regs.rax });
    }
}

/// Whose context begins or ends at the mark.
#[inline(always)]
fn key(process: u32, mark: Mark, regs: &Registers) -> UnitKey {
    if u32::from(mark.unit()) == UnitKey::GOROUTINE {
        UnitKey { process, kind: UnitKey::GOROUTINE, unit: regs.r14 }
    } else {
        thread(process)
    }
}

/// A context begins for a thread or goroutine.
#[inline(always)]
fn enter(key: &UnitKey, around: u32, mark: Mark, regs: &Registers) {
    drop_unit(key);
    let Some(context) = begin() else { return };
    if UNITS.insert(key, &context, BPF_ANY.into()).is_err() {
        lose(Loss::NoContext);
        leave(context);
        return;
    }
    tell(context, around, key.process, mark, regs);
}

/// Who was in a context is in it no more.
#[inline(always)]
fn drop_unit(key: &UnitKey) {
    if let Some(context) = unit(key) {
        let _ = UNITS.remove(key);
        leave(context);
    }
}

/// A context is over, whoever is still in it.
#[inline(always)]
fn end(key: &UnitKey) {
    if let Some(context) = unit(key) {
        if is_open(context) {
            change(context, OVER);
        }
        drop_unit(key);
    }
}

/// A context begins for a whole process. What it was in before is kept.
#[inline(always)]
fn enter_process(process: u32, around: u32, mark: Mark, regs: &Registers) {
    let Some(tracked) = TRACKED.get_ptr_mut(&process) else { return };
    let Some(context) = begin() else { return };
    let key = UnitKey { process, kind: UnitKey::PROCESS, unit: 0 };
    if unit(&key).is_none() {
        if UNITS.insert(&key, &around, BPF_ANY.into()).is_err() {
            lose(Loss::NoContext);
            leave(context);
            return;
        }
    } else {
        leave(around);
    }
    // SAFETY: the entry is there as long as the process is counted.
    unsafe { *tracked = context };
    tell(context, around, process, mark, regs);
}

/// A process is in the context again that it was in before.
#[inline(always)]
fn leave_process(process: u32) {
    let key = UnitKey { process, kind: UnitKey::PROCESS, unit: 0 };
    let (Some(before), Some(tracked)) = (unit(&key), TRACKED.get_ptr_mut(&process)) else { return };
    let _ = UNITS.remove(&key);
    // SAFETY: the entry is there as long as the process is counted.
    let context = unsafe { core::ptr::replace(tracked, before) };
    leave(context);
}

/// Whether the text at `address` names a variable that tells the test.
#[inline(always)]
fn is_variable(address: u64) -> bool {
    let mut name = [0u64; 4];
    // SAFETY: the buffer is as long as is said; the helper checks the address.
    let read = unsafe { bpf_probe_read_user_str(name.as_mut_ptr().cast(), 32, address as *const c_void) };
    read > 0 && VARIABLES.iter().any(|variable| *variable == name)
}

/// Tells the agent what it can be named by.
#[inline(always)]
fn tell(context: u32, around: u32, process: u32, mark: Mark, regs: &Registers) {
    let Some(mut entry) = contexts::NEWS.reserve_untyped::<Entered>(0) else {
        return lose(Loss::NoNews);
    };
    let entered = entry.as_mut_ptr();
    let register = mark.register();
    let base = if register == Register::Rdi as u8 {
        regs.rdi
    } else if register == Register::Rsi as u8 {
        regs.rsi
    } else if register == Register::Rax as u8 {
        regs.rax
    } else {
        regs.rbx
    };
    let address = base.wrapping_add(u64::from(mark.offset()));
    // SAFETY: the entry has that many bytes.
    let bytes: *mut u8 = unsafe { (&raw mut (*entered).bytes).cast() };
    let layout = mark.layout();
    let mut second = 0;
    let length = if layout == Layout::Characters as u8 {
        // SAFETY: the entry has that many bytes; the helper checks the address.
        let read =
            unsafe { bpf_probe_read_user_str(bytes.cast(), ENTERED_BYTES as u32, address as *const c_void) };
        if read > 0 { read as u32 - 1 } else { 0 }
    } else if layout == Layout::Slice as u8 {
        slice(bytes, address)
    } else if layout == Layout::TwoStrings as u8 {
        // SAFETY: the second half lies in the entry too.
        second = slice(unsafe { bytes.add(HALF) }, address + 32);
        slice(bytes, address)
    } else {
        // SAFETY: the entry has that many bytes; the helper checks the address.
        let failed = unsafe { bpf_probe_read_user(bytes.cast(), ENTERED_BYTES as u32, address as *const c_void) };
        if failed == 0 { ENTERED_BYTES as u32 } else { 0 }
    };
    let head = News {
        length,
        second,
        mark: u32::from(mark.number()),
        address: regs.rip,
        ..news(NewsKind::Entered, context, around, process)
    };
    // SAFETY: the entry has room for it.
    unsafe { (&raw mut (*entered).news).write(head) };
    entry.submit(0);
}

/// Copies characters whose address and number lie at `address`, as many as half an entry has room for.
#[inline(always)]
fn slice(to: *mut u8, address: u64) -> u32 {
    let mut words = [0u64; 2];
    // SAFETY: the buffer is as long as is said; the helper checks the address.
    if unsafe { bpf_probe_read_user(words.as_mut_ptr().cast(), 16, address as *const c_void) } != 0 {
        return 0;
    }
    let length = if words[1] > HALF as u64 { HALF as u32 } else { words[1] as u32 };
    // SAFETY: there is room for half an entry; the helper checks the address.
    let failed = unsafe { bpf_probe_read_user(to.cast(), length, words[0] as *const c_void) };
    if failed == 0 { length } else { 0 }
}
